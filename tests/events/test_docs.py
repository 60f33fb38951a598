"""docs/events.md says what the code does."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest

from hubble.events import Event
from hubble.events.text import record
from hubble.protocol.messages import ResetReason
from tests.support.samples import EVENTS

PAGE = (Path(__file__).parents[2] / "docs" / "events.md").read_text()
SECTIONS = {part.split("\n", 1)[0]: part for part in PAGE.split("\n### ")[1:]}


def test_every_kind_is_there_and_no_other() -> None:
    assert set(SECTIONS) == {event.name for event in EVENTS}


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.name)
def test_each_field_is_explained_and_the_example_is_one(event: Event) -> None:
    section = SECTIONS[event.name]
    match = re.search(r"```json\n(.*)\n```", section)
    assert match and json.loads(match[1]) == record(event)
    explained = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    assert explained == [field.name for field in dataclasses.fields(event) if field.name not in ("time", "worker")]


def test_every_reason_to_reset_is_named() -> None:
    for reason in ResetReason:
        assert f"`{reason.name.lower()}`" in PAGE
