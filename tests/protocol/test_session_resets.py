"""Whatever ends a session abnormally reaches the other side as a reset."""

from __future__ import annotations

import pytest

from hubble.base.errors import ProtocolError
from hubble.protocol.messages import (
    ConnectionClosed,
    Credit,
    Data,
    Done,
    Eof,
    GoAway,
    Message,
    Refusal,
    Reset,
    ResetReason,
    Stream,
    Suspend,
    Terminator,
)
from hubble.protocol.states import PathState
from tests.protocol.pair import ENDS, SESSION, Pair


@pytest.mark.parametrize("name", ENDS)
def test_a_local_reset_reaches_the_other_side(name: str) -> None:
    pair = Pair.opened()
    one, other = pair.end(name), pair.other(pair.end(name))
    one.write(b"never read")
    other.write(b"nor this")
    pair.flow()
    one.write(b"nor sent")
    one.fail(ResetReason.LOCAL_RESET, "connection reset by peer")
    assert pair.flow() == [f"{name} RESET LOCAL_RESET connection reset by peer"]
    assert pair.events() == ["entry Ended LOCAL_RESET", "exit Ended LOCAL_RESET"]
    assert (other.next_bytes(), other.stream_ended, other.room) == (None, False, 0)
    assert pair.budgets == (0, 0)


@pytest.mark.parametrize("name", ENDS)
def test_a_reset_after_the_end_of_the_stream_is_no_clean_end(name: str) -> None:
    """The bytes before the end are dropped, so that the end must not be told."""
    pair = Pair.opened()
    one, other = pair.end(name), pair.other(pair.end(name))
    one.write(b"hello")
    one.finish()
    pair.flow()
    one.fail(ResetReason.LOCAL_RESET)
    pair.flow()
    assert (other.next_bytes(), other.stream_ended) == (None, False)
    assert "Ended LOCAL_RESET" in pair.events()[0]


def test_an_entry_fails_before_it_has_asked() -> None:
    pair = Pair()
    pair.entry.fail(ResetReason.LOCAL_RESET)
    assert pair.events() == ["entry Ended LOCAL_RESET"]
    assert pair.send(pair.entry) == []


def test_an_entry_fails_while_it_waits_for_the_first_ack() -> None:
    pair = Pair()
    offer = pair.entry.connect(pair.now)
    pair.entry.fail(ResetReason.LOCAL_RESET, "gone")
    assert pair.entry.path is PathState.CONNECTING
    assert pair.answer(offer)
    assert pair.flow() == ["entry RESET LOCAL_RESET gone"]
    assert pair.events() == ["entry Ended LOCAL_RESET", "exit Opened", "exit Ended LOCAL_RESET"]
    assert pair.budgets == (0, 0)


@pytest.mark.parametrize("connecting", [False, True])
def test_an_entry_fails_without_a_path_and_tells_the_exit_once_it_has_one(connecting: bool) -> None:
    pair = Pair.opened()
    pair.entry.write(b"hello")
    pair.lose_path()
    offer = pair.entry.connect(pair.now) if connecting else None
    pair.entry.fail(ResetReason.LOCAL_RESET)
    assert pair.entry.path is not PathState.ENDED
    assert pair.send(pair.entry) == []
    assert pair.answer(offer or pair.entry.connect(pair.now))
    assert pair.flow() == ["entry RESET LOCAL_RESET"]
    assert pair.exit.path is PathState.ENDED
    assert pair.budgets == (0, 0)


def test_an_entry_that_failed_and_finds_no_path_ends_at_its_deadline() -> None:
    pair = Pair.opened(resume_timeout=60.0)
    pair.lose_path()
    pair.entry.fail(ResetReason.LOCAL_RESET)
    pair.wait(60.0)
    assert pair.events()[:2] == ["entry Suspended", "entry Ended LOCAL_RESET"]


def test_an_exit_fails_without_a_path_and_the_entry_learns_it_by_asking() -> None:
    pair = Pair.opened()
    pair.lose_path()
    pair.exit.fail(ResetReason.LOCAL_RESET)
    assert pair.exit.path is PathState.ENDED
    offer = pair.entry.connect(pair.now)
    with pytest.raises(ProtocolError, match="ended"):
        pair.exit.accept(offer, pair.now)
    assert not pair.entry.refused(Refusal.UNKNOWN_SESSION, "unknown", pair.now)
    assert pair.events()[1] == "entry Ended UNKNOWN_SESSION"


def test_a_reset_that_is_lost_is_learnt_by_asking() -> None:
    pair = Pair.opened()
    pair.exit.fail(ResetReason.LOCAL_RESET)
    pair.send(pair.exit)
    pair.entry.path_lost(pair.now, "the link was lost")
    pair.entry.connect(pair.now)
    pair.entry.refused(Refusal.UNKNOWN_SESSION, "unknown", pair.now)
    assert pair.events()[1] == "entry Ended UNKNOWN_SESSION"


@pytest.mark.parametrize("name", ENDS)
@pytest.mark.parametrize("path", [PathState.WAITING, PathState.CONNECTING, PathState.OPEN])
def test_a_reset_is_heeded_whatever_the_path(name: str, path: PathState) -> None:
    pair = Pair.opened()
    end = pair.end(name)
    if path is not PathState.OPEN:
        pair.lose_path()
    if path is PathState.CONNECTING:
        pair.entry.connect(pair.now)
    pair.events()
    pair.deliver(end, [Reset(SESSION, name == "entry", ResetReason.REVOKED, "by the operator")])
    assert pair.events() == [f"{name} Ended REVOKED"]


@pytest.mark.parametrize("name", ENDS)
def test_nothing_leaves_the_end(name: str) -> None:
    pair = Pair.opened()
    end = pair.end(name)
    end.fail(ResetReason.LOCAL_RESET)
    pair.send(end)
    pair.events()
    from_exit = name == "entry"
    everything: list[Message] = [
        Stream(SESSION, from_exit, 0, b"x"),
        Credit(SESSION, from_exit, 0, 1 << 40),
        Eof(SESSION, from_exit, 0),
        Reset(SESSION, from_exit, ResetReason.REVOKED),
        Done(SESSION, from_exit),
        Suspend(SESSION, from_exit),
    ]
    pair.deliver(end, everything)
    end.write(b"late")
    end.finish()
    end.consumed(1, pair.now)
    end.path_lost(pair.now, "the link was lost")
    end.fail(ResetReason.LOCAL_RESET)
    end.expire(pair.now + 1e6)
    assert pair.send(end) == []
    assert pair.events() == []
    assert (end.path, end.deadline, end.room, end.stream_ended) == (PathState.ENDED, None, 0, False)
    assert end.has_news is False
    assert pair.keep.taken == 0


@pytest.mark.parametrize("failed", [False, True])
def test_what_the_socket_still_gives_is_dropped_and_keeps_no_budget(failed: bool) -> None:
    """A read of the socket may return after the session has ended, or failed without a path."""
    pair = Pair.opened()
    assert pair.entry.room > 0
    if failed:
        pair.lose_path()
        pair.entry.fail(ResetReason.LIMIT)
    else:
        pair.deliver(pair.entry, [Reset(SESSION, True, ResetReason.LOCAL_RESET)])
    pair.entry.write(b"late")
    assert pair.keep.taken == 0
    assert pair.entry.room == 0


@pytest.mark.parametrize(
    "message",
    [
        Credit(SESSION, False, 1, 1 << 40),
        Eof(SESSION, False, 3),
        Stream(SESSION, False, 6, b"after the end"),
        Data(SESSION, 1, b"x"),
        Terminator(SESSION),
        ConnectionClosed(SESSION),
        GoAway(1),
    ],
    ids=lambda message: type(message).__name__,
)
def test_what_cannot_be_meant_resets_this_session(message: Message) -> None:
    pair = Pair.opened()
    pair.entry.write(b"hello")
    pair.entry.finish()
    pair.flow()
    pair.deliver(pair.exit, [message])
    assert pair.exit.path is PathState.ENDED
    assert pair.flow()[0].startswith("exit RESET PROTOCOL_ERROR")
    assert pair.events()[-1] == "exit Ended PROTOCOL_ERROR"
