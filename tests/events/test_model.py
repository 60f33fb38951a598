from __future__ import annotations

import dataclasses
import json

import pytest

from hubble.events import KINDS, OpenSession, as_dict, timestamp
from hubble.events.text import line
from tests.support.samples import EVENTS, SESSION, WHEN


def test_the_samples_show_every_kind() -> None:
    assert {type(event) for event in EVENTS} == set(KINDS)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.name)
def test_an_event_cannot_be_changed_and_has_plain_fields(event: object) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        event.time = 0.0  # type: ignore[attr-defined]
    fields = as_dict(event)  # type: ignore[arg-type]
    assert fields.pop("event") == type(event).__name__
    assert list(fields) == [field.name for field in dataclasses.fields(event)]  # type: ignore[arg-type]
    assert all(type(value) in (str, int, float, bool) for value in fields.values())


def test_json_is_one_line_with_a_readable_time() -> None:
    text = line(OpenSession(**WHEN, **{**SESSION, "source": 'a\n"b\u2028é'}, success=False, error="no", seconds=1.0))
    assert "\n" not in text
    read = json.loads(text)
    assert read["event"] == "OpenSession" and read["source"] == 'a\n"b\u2028é'
    assert read["time"] == "2026-11-28T05:16:53.125000Z"


def test_times_round_to_microseconds() -> None:
    assert timestamp(0.9999999) == "1970-01-01T00:00:01.000000Z"
    assert timestamp(1.0000014) == "1970-01-01T00:00:01.000001Z"
