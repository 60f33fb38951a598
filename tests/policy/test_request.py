"""The facts and the answers."""

from __future__ import annotations

import pytest

from hubble.policy import ConnectionRequest, RegistrationRequest, denied, failed, granted
from hubble.policy.request import DETAIL, printable


def test_no_repr_shows_a_secret() -> None:
    connection = ConnectionRequest(host="h", key="s3cret")
    registration = RegistrationRequest(name="n", key="s3cret", headers={"Authorization": "s3cret"})
    assert "s3cret" not in f"{connection!r} {registration!r}"
    assert "'h'" in repr(connection)


def test_requests_are_hashable_and_frozen() -> None:
    assert hash(RegistrationRequest(headers={"a": "b"})) == hash(RegistrationRequest(headers={"a": "b"}))
    with pytest.raises(AttributeError):
        ConnectionRequest().host = "other"  # type: ignore[misc]


def test_decisions_tell_agents_little_and_logs_more() -> None:
    assert (granted("rule 1").reason, granted("rule 1").detail) == ("", "rule 1")
    assert (denied("rule 1").reason, denied("rule 1").detail) == ("Unauthorized", "rule 1")
    assert (failed("away").reason, failed("away").error) == ("Authorization error.", True)


def test_a_detail_is_one_short_line() -> None:
    assert denied("a\nb\x1b[2J\u202e").detail == "a\\nb\\x1b[2J\\u202e"
    assert len(failed("x" * 10_000).detail) == DETAIL


@pytest.mark.parametrize("text", ["", "plain", "ключ 鍵", "quote \"'"])
def test_printable_text_stays(text: str) -> None:
    assert printable(text) == text
