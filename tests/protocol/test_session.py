from __future__ import annotations

from dataclasses import replace

import pytest

from hubble.errors import ProtocolError
from hubble.protocol.credit import INITIAL_WINDOW, SMALLEST_WINDOW, Budget, Window
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
    Terms,
)
from hubble.protocol.session import LATE_CREDIT, OPEN_TIMEOUT, SEND_AT_MOST, Path, Session
from tests.protocol.pair import KIB, SECRET, SESSION, Pair

ENDS = ["entry", "exit"]


def of(pair: Pair, name: str) -> Session:
    return pair.exit if name == "exit" else pair.entry


# Opening.


def test_opening() -> None:
    pair = Pair(window=100 * KIB)
    assert (pair.entry.path, pair.exit.path) == (Path.WAITING, Path.WAITING)
    offer = pair.entry.connect(pair.now)
    assert offer == Terms(attempt=1, received=0, limit=100 * KIB, secret=SECRET, resume=False)
    assert pair.entry.path is Path.CONNECTING
    answer = pair.exit.accept(offer, pair.now)
    assert answer == Terms(attempt=1, received=0, limit=100 * KIB)
    assert pair.entry.connected(answer, pair.now)
    assert (pair.entry.path, pair.exit.path) == (Path.OPEN, Path.OPEN)
    assert pair.events() == ["entry Opened", "exit Opened"]
    assert (pair.entry.deadline, pair.exit.deadline) == (None, None)
    assert pair.flow() == []


def test_nothing_may_be_written_before_both_have_agreed() -> None:
    pair = Pair()
    pair.entry.connect(pair.now)
    assert (pair.entry.room, pair.exit.room) == (0, 0)


def test_bytes_both_ways() -> None:
    pair = Pair.opened()
    pair.entry.write(b"hello")
    pair.exit.write(b"SSH-2.0")
    assert pair.flow() == ["entry STREAM 0 b'hello'", "exit STREAM 0 b'SSH-2.0'"]
    assert pair.read(pair.exit) == b"hello"
    assert pair.read(pair.entry) == b"SSH-2.0"


def test_an_ack_that_does_not_come() -> None:
    pair = Pair()
    pair.entry.connect(pair.now)
    assert pair.entry.deadline == pair.now + OPEN_TIMEOUT
    pair.wait(OPEN_TIMEOUT - 0.1)
    assert pair.entry.path is Path.CONNECTING
    pair.wait(0.1)
    assert pair.events() == ["entry Ended NOT_RESUMED"]


def test_the_first_ack_is_lost_and_the_entry_asks_again() -> None:
    pair = Pair()
    assert pair.exit.accept(pair.entry.connect(pair.now), pair.now)
    pair.exit.write(b"banner")
    pair.send(pair.exit)
    pair.lose_path()
    pair.now += 3.0
    offer = pair.entry.connect(pair.now)
    assert (offer.attempt, offer.resume) == (2, False)
    assert pair.answer(offer)
    assert pair.flow() == ["exit STREAM 0 b'banner'"]
    assert pair.events() == ["entry Opened", "exit Opened", "exit Suspended", "exit Resumed after 3"]


def test_opening_does_not_wait_longer_for_being_tried_again() -> None:
    pair = Pair()
    pair.entry.connect(pair.now)
    for _ in range(3):
        pair.now += 9.0
        pair.entry.path_lost(pair.now, "the link was lost")
        pair.entry.connect(pair.now)
    pair.wait(3.0)
    assert pair.events() == ["entry Ended NOT_RESUMED"]


# Refusals.


@pytest.mark.parametrize("code", list(Refusal))
def test_the_first_initiator_is_refused(code: Refusal) -> None:
    pair = Pair()
    pair.entry.connect(pair.now)
    assert not pair.entry.refused(code, "no", pair.now)
    unknown = code is Refusal.UNKNOWN_SESSION
    assert pair.events() == [f"entry Ended {'UNKNOWN_SESSION' if unknown else 'REFUSED'}"]
    assert pair.entry.deadline is None


@pytest.mark.parametrize("code", list(Refusal))
def test_a_resumption_is_refused(code: Refusal) -> None:
    pair = Pair.opened()
    pair.lose_path()
    pair.events()
    pair.entry.connect(pair.now)
    again = code in (Refusal.NO_GATEWAY, Refusal.BUSY)
    assert pair.entry.refused(code, "not now", pair.now) is again
    assert pair.entry.path is (Path.WAITING if again else Path.ENDED)
    if again:  # the exit may be back later
        assert pair.connect()
        assert pair.events()[0] == "entry Resumed after 0"


def test_a_resumption_refused_again_and_again_ends_at_the_deadline() -> None:
    pair = Pair.opened(resume_timeout=20.0)
    pair.lose_path()
    for _ in range(19):
        pair.entry.connect(pair.now)
        assert pair.entry.refused(Refusal.NO_GATEWAY, "away", pair.now)
        pair.wait(1.0)
    assert pair.entry.path is Path.WAITING
    pair.wait(1.0)
    assert pair.events()[-2:] == ["exit Suspended", "exit Ended NOT_RESUMED"]
    assert pair.entry.path is Path.ENDED


@pytest.mark.parametrize("path", [Path.WAITING, Path.OPEN, Path.ENDED])
def test_a_refusal_that_nobody_waits_for(path: Path) -> None:
    pair = Pair() if path is Path.WAITING else Pair.opened()
    if path is Path.ENDED:
        pair.entry.fail(ResetReason.LOCAL_RESET)
    assert not pair.entry.refused(Refusal.UNAUTHORIZED, "no", pair.now)
    assert pair.entry.path is path


# Half-close.


@pytest.mark.parametrize("first", ENDS)
def test_one_end_finishes_and_still_receives(first: str) -> None:
    pair = Pair.opened()
    one, other = of(pair, first), pair.other(of(pair, first))
    one.write(b"question")
    one.finish()
    assert one.room == 0
    pair.flow()
    assert not other.stream_ended
    assert pair.read(other) == b"question"
    pair.read_end(other)
    assert not other.stream_ended
    assert not one.stream_ended
    other.write(b"answer")
    pair.flow()
    assert pair.read(one) == b"answer"
    assert not one.finished
    other.finish()
    pair.flow()
    pair.read_end(one)
    pair.flow()
    assert sorted(pair.events()) == ["entry Ended", "exit Ended"]
    assert pair.budgets == (0, 0)


def test_a_whole_session_as_it_is_said() -> None:
    pair = Pair.opened(window=64 * KIB)
    pair.entry.write(b"hello")
    pair.entry.finish()
    assert pair.flow() == ["entry STREAM 0 b'hello'", "entry EOF 5"]
    assert pair.read(pair.exit) == b"hello"
    assert pair.flow() == []  # too little to tell at once
    pair.read_end(pair.exit)
    assert pair.flow() == ["exit CREDIT 6 65542"]
    assert pair.entry.outgoing.complete
    pair.exit.write(b"bye")
    pair.exit.finish()
    assert pair.flow() == ["exit STREAM 0 b'bye'", "exit EOF 3"]
    assert pair.read(pair.entry) == b"bye"
    pair.read_end(pair.entry)
    assert pair.flow() == ["entry CREDIT 4 65540", "entry DONE", "exit DONE"]
    assert pair.events() == ["entry Ended", "exit Ended"]
    assert pair.budgets == (0, 0)


def test_both_finish_at_once() -> None:
    pair = Pair.opened()
    pair.entry.finish()
    pair.exit.finish()
    pair.flow()
    pair.read_end(pair.entry)
    pair.read_end(pair.exit)
    assert pair.flow() == [
        "entry CREDIT 1 65537",
        "exit CREDIT 1 65537",
        "exit DONE",
        "entry DONE",
    ]
    assert pair.events() == ["entry Ended", "exit Ended"]


def test_the_end_of_the_stream_is_told_after_all_bytes_only() -> None:
    pair = Pair.opened()
    pair.entry.write(b"hello")
    pair.entry.finish()
    messages = pair.send(pair.entry)
    pair.deliver(pair.exit, messages)
    assert pair.exit.next_bytes() == b"hello"
    assert pair.exit.stream_ended  # taken: the shell writes it before it asks again
    pair.exit.consumed(5, pair.now)
    assert not pair.exit.incoming.complete


# Done.


def finished(pair: Pair) -> None:
    """Both ends have sent and consumed everything, and the entry knows it: its Done is on its way."""
    pair.entry.finish()
    pair.exit.finish()
    pair.flow()
    pair.read_end(pair.exit)
    pair.flow()
    pair.read_end(pair.entry)
    assert pair.entry.finished
    assert not pair.exit.finished


def test_an_end_without_the_other_s_done_stays_for_a_while_and_then_ends_well() -> None:
    pair = Pair.opened(resume_timeout=60.0)
    finished(pair)
    assert [type(message) for message in pair.send(pair.entry)] == [Credit, Done]  # lost, and nobody hears of it
    pair.wait(59.0)
    assert pair.entry.path is Path.OPEN
    pair.wait(1.0)
    assert pair.events() == ["entry Ended"]


def test_a_lost_done_is_said_again() -> None:
    pair = Pair.opened()
    finished(pair)
    pair.send(pair.entry)
    pair.lose_path()
    assert pair.connect()
    transcript = pair.flow()
    assert sorted(line for line in transcript if "DONE" in line) == ["entry DONE", "exit DONE"]
    assert [event for event in pair.events() if "Ended" in event] == ["entry Ended", "exit Ended"]
    assert pair.budgets == (0, 0)


def test_the_exit_has_ended_well_and_forgotten_the_session() -> None:
    pair = Pair.opened()
    finished(pair)
    pair.deliver(pair.exit, pair.send(pair.entry))
    assert pair.exit.path is Path.ENDED
    pair.send(pair.exit)  # its Done is lost
    pair.entry.path_lost(pair.now, "the link was lost")
    pair.entry.connect(pair.now)
    assert not pair.entry.refused(Refusal.UNKNOWN_SESSION, "unknown", pair.now)
    assert pair.events() == ["entry Suspended", "entry Ended", "exit Ended"]


def test_the_exit_lingers_when_the_entry_has_ended_well_and_gone() -> None:
    pair = Pair.opened(resume_timeout=60.0)
    pair.entry.finish()
    pair.exit.finish()
    pair.flow()
    pair.read_end(pair.entry)
    pair.deliver(pair.exit, pair.send(pair.entry))
    pair.read_end(pair.exit)
    pair.deliver(pair.entry, pair.send(pair.exit))
    assert pair.entry.path is Path.ENDED
    pair.exit.path_lost(pair.now, "the link was lost")  # and the entry's Done with it
    assert pair.exit.finished
    pair.wait(60.0)
    assert pair.events() == ["entry Ended", "exit Suspended", "exit Ended"]


def test_a_reset_does_not_undo_what_is_finished() -> None:
    """The other side had not heard that all it sent was consumed when its time was over."""
    pair = Pair.opened()
    finished(pair)
    pair.send(pair.entry)
    pair.deliver(pair.entry, [Reset(SESSION, True, ResetReason.NOT_RESUMED)])
    assert pair.events() == ["entry Ended"]


def test_done_before_this_end_is() -> None:
    pair = Pair.opened()
    pair.deliver(pair.exit, [Done(SESSION, False)])
    assert pair.flow()[0].startswith("exit RESET PROTOCOL_ERROR")
    assert pair.events() == ["entry Ended PROTOCOL_ERROR", "exit Ended PROTOCOL_ERROR"]


# Resets.


@pytest.mark.parametrize("name", ENDS)
def test_a_local_reset_reaches_the_other_side(name: str) -> None:
    pair = Pair.opened()
    one, other = of(pair, name), pair.other(of(pair, name))
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
    one, other = of(pair, name), pair.other(of(pair, name))
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
    assert pair.entry.path is Path.CONNECTING
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
    assert pair.entry.path is not Path.ENDED
    assert pair.send(pair.entry) == []
    assert pair.answer(offer or pair.entry.connect(pair.now))
    assert pair.flow() == ["entry RESET LOCAL_RESET"]
    assert pair.exit.path is Path.ENDED
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
    assert pair.exit.path is Path.ENDED
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
@pytest.mark.parametrize("path", [Path.WAITING, Path.CONNECTING, Path.OPEN])
def test_a_reset_is_heeded_whatever_the_path(name: str, path: Path) -> None:
    pair = Pair.opened()
    end = of(pair, name)
    if path is not Path.OPEN:
        pair.lose_path()
    if path is Path.CONNECTING:
        pair.entry.connect(pair.now)
    pair.events()
    pair.deliver(end, [Reset(SESSION, name == "entry", ResetReason.REVOKED, "by the operator")])
    assert pair.events() == [f"{name} Ended REVOKED"]


@pytest.mark.parametrize("name", ENDS)
def test_nothing_leaves_the_end(name: str) -> None:
    pair = Pair.opened()
    end = of(pair, name)
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
    assert (end.path, end.deadline, end.room, end.stream_ended) == (Path.ENDED, None, 0, False)
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


# Resumption.


def test_the_session_goes_on_where_it_was() -> None:
    pair = Pair.opened()
    pair.entry.write(b"one two ")
    pair.exit.write(b"uno dos ")
    pair.flow()
    assert pair.read(pair.exit) == b"one two "
    pair.entry.write(b"three ")
    pair.exit.write(b"tres ")
    pair.send(pair.entry)  # lost
    pair.send(pair.exit)
    pair.lose_path()
    pair.entry.write(b"four")  # while there is no path
    pair.exit.finish()
    pair.now += 7.5
    offer = pair.entry.connect(pair.now)
    assert (offer.attempt, offer.received, offer.resume) == (2, 8, True)
    assert pair.answer(offer)
    assert pair.events() == ["entry Suspended", "entry Resumed after 7.5", "exit Suspended", "exit Resumed after 7.5"]
    assert pair.flow() == [
        "entry STREAM 8 b'three '",
        "entry STREAM 14 b'four'",
        "exit CREDIT 8 65536",
        "exit STREAM 8 b'tres '",
        "exit EOF 13",
    ]
    assert pair.read(pair.exit) == b"three four"
    assert pair.read(pair.entry) == b"uno dos tres "
    assert (pair.entry.resumptions, pair.exit.resumptions) == (1, 1)


def test_what_has_arrived_but_was_not_consumed_is_neither_lost_nor_sent_again() -> None:
    pair = Pair.opened()
    pair.entry.write(b"hello")
    pair.flow()
    pair.lose_path()
    assert pair.connect()
    assert pair.flow() == []
    assert pair.read(pair.exit) == b"hello"


def test_credit_lost_with_the_path_is_told_again() -> None:
    pair = Pair.opened(window=40 * KIB)
    pair.entry.write(bytes(40 * KIB))
    pair.flow()
    assert pair.entry.room == 0
    pair.read(pair.exit)
    assert [type(message) for message in pair.send(pair.exit)] == [Credit]  # lost
    pair.lose_path()
    assert pair.connect()
    assert pair.flow() == ["exit CREDIT 40960 81920"]
    assert pair.entry.room == 40 * KIB
    assert pair.keep.taken == 0


@pytest.mark.parametrize("name", ENDS)
@pytest.mark.parametrize("delivered", [0, 1, 2])
def test_half_close_is_replayed(name: str, delivered: int) -> None:
    pair = Pair.opened()
    one, other = of(pair, name), pair.other(of(pair, name))
    one.write(b"hello")
    one.finish()
    pair.deliver(other, pair.send(one)[:delivered])
    pair.lose_path()
    assert pair.connect()
    assert len(pair.flow()) == 2 - delivered
    assert pair.read(other) == b"hello"
    pair.read_end(other)
    pair.flow()
    assert one.outgoing.complete


def test_the_path_is_lost_while_the_session_is_being_resumed() -> None:
    pair = Pair.opened()
    pair.entry.write(b"hello")
    pair.send(pair.entry)
    pair.lose_path()
    for _ in range(3):  # the exit accepts, but its Ack, and what it sent behind it, are lost
        assert pair.exit.accept(pair.entry.connect(pair.now), pair.now)
        pair.exit.write(b"x")
        pair.send(pair.exit)
        pair.lose_path()
    assert pair.connect()
    pair.flow()
    assert pair.read(pair.exit) == b"hello"
    assert pair.read(pair.entry) == b"xxx"


def test_the_exit_takes_a_new_path_before_it_misses_the_old_one() -> None:
    pair = Pair.opened()
    pair.entry.path_lost(pair.now, "the link was lost")
    pair.entry.write(b"hello")
    assert pair.connect()
    assert pair.flow() == ["entry STREAM 0 b'hello'"]
    assert "exit Resumed after 0" in pair.events()


def test_a_session_not_resumed_in_time_is_reset_on_both_sides() -> None:
    pair = Pair.opened(resume_timeout=60.0)
    pair.entry.write(b"hello")
    pair.lose_path()
    assert pair.entry.deadline == pair.exit.deadline == pair.now + 60.0
    pair.wait(59.9)
    assert (pair.entry.path, pair.exit.path) == (Path.WAITING, Path.WAITING)
    pair.wait(0.1)
    assert pair.events() == [
        "entry Suspended",
        "entry Ended NOT_RESUMED",
        "exit Suspended",
        "exit Ended NOT_RESUMED",
    ]
    assert pair.budgets == (0, 0)


def test_each_loss_has_its_own_time() -> None:
    pair = Pair.opened(resume_timeout=60.0)
    for _ in range(3):
        pair.lose_path()
        pair.wait(50.0)
        assert pair.connect()
        pair.wait(50.0)
    assert pair.entry.path is pair.exit.path is Path.OPEN


def test_losing_what_is_lost_already_does_not_prolong_it() -> None:
    pair = Pair.opened(resume_timeout=60.0)
    pair.lose_path()
    pair.wait(30.0)
    pair.entry.connect(pair.now)
    pair.lose_path()
    pair.wait(30.0)
    assert pair.entry.path is pair.exit.path is Path.ENDED


# Stale and hostile resumptions.


def test_the_ack_of_an_older_attempt() -> None:
    pair = Pair.opened()
    pair.lose_path()
    older = pair.exit.accept(pair.entry.connect(pair.now), pair.now)
    assert older
    pair.lose_path()
    offer = pair.entry.connect(pair.now)
    assert not pair.entry.connected(older, pair.now)
    assert pair.entry.path is Path.CONNECTING
    assert pair.answer(offer)
    assert not pair.entry.connected(older, pair.now)


def test_an_ack_that_nobody_waits_for() -> None:
    pair = Pair()
    answer = pair.exit.accept(pair.entry.connect(pair.now), pair.now)
    assert answer
    pair.entry.path_lost(pair.now, "the link was lost")
    assert not pair.entry.connected(answer, pair.now)
    assert pair.entry.path is Path.WAITING


def test_the_initiator_of_an_older_attempt() -> None:
    pair = Pair.opened()
    pair.lose_path()
    older = pair.entry.connect(pair.now)
    pair.lose_path()
    pair.entry.write(b"hello")
    assert pair.connect()
    pair.events()
    assert pair.exit.accept(older, pair.now) is None
    assert pair.exit.accept(replace(older, attempt=3), pair.now) is None  # the same again
    assert pair.events() == []
    pair.flow()
    assert pair.read(pair.exit) == b"hello"


@pytest.mark.parametrize("secret", [b"", b"x", SECRET[:-1] + b"?", SECRET + b"x", bytes(16)])
@pytest.mark.parametrize("lost", [False, True])
def test_a_wrong_secret_changes_nothing(secret: bytes, lost: bool) -> None:
    pair = Pair.opened()
    pair.entry.write(b"hello")
    pair.flow()
    pair.read(pair.exit)
    if lost:
        pair.lose_path()
    pair.events()
    path, deadline = pair.exit.path, pair.exit.deadline
    with pytest.raises(ProtocolError, match="secret"):
        pair.exit.accept(Terms(1000, 0, 1 << 40, secret, resume=True), pair.now)
    assert (pair.exit.path, pair.exit.deadline, pair.events()) == (path, deadline, [])
    assert pair.exit.room <= 64 * KIB
    if lost:
        assert pair.connect()
    pair.entry.write(b" world")
    pair.flow()
    assert pair.read(pair.exit) == b" world"


@pytest.mark.parametrize("received", [4, 12, 1 << 40])
def test_impossible_offsets_change_nothing(received: int) -> None:
    """The exit has sent 11 bytes, of which the entry has consumed 5."""
    pair = Pair.opened()
    pair.exit.write(b"hello")
    pair.flow()
    pair.read(pair.entry)
    pair.wait(LATE_CREDIT)
    pair.exit.write(b" world")
    pair.flow()
    pair.exit.write(b", not sent yet")
    assert pair.exit.outgoing.acknowledged == 5
    with pytest.raises(ProtocolError, match=f"offset {received}"):
        pair.exit.accept(Terms(2, received, 1 << 40, SECRET, resume=True), pair.now)
    assert pair.exit.path is Path.OPEN
    pair.flow()
    assert pair.read(pair.entry) == b" world, not sent yet"


@pytest.mark.parametrize("received", [1, 1 << 40])
def test_an_ack_with_impossible_offsets_is_a_reset_on_both_sides(received: int) -> None:
    pair = Pair()
    assert pair.exit.accept(pair.entry.connect(pair.now), pair.now)
    assert pair.entry.connected(Terms(1, received, 1 << 40), pair.now)
    assert pair.flow()[0].startswith("entry RESET PROTOCOL_ERROR")
    assert pair.events() == ["entry Ended PROTOCOL_ERROR", "exit Opened", "exit Ended PROTOCOL_ERROR"]


def test_no_secret_in_a_repr() -> None:
    pair = Pair.opened()
    for shown in (repr(pair.entry), repr(pair.exit), repr(pair.entry.outgoing), repr(pair.entry.incoming)):
        assert "secret" not in shown.lower()
        assert SECRET.hex() not in shown


# Messages out of step.


def test_a_gap_suspends_the_session_and_it_is_resumed() -> None:
    pair = Pair.opened()
    for data in (b"one ", b"two ", b"three"):
        pair.entry.write(data)
    first, _, third = pair.send(pair.entry)
    pair.deliver(pair.exit, [first, third])
    assert pair.exit.path is Path.WAITING
    assert pair.flow() == ["exit SUSPEND"]
    assert pair.entry.path is Path.WAITING
    assert pair.events() == ["entry Suspended", "exit Suspended"]
    assert pair.connect()
    assert pair.flow() == ["entry STREAM 4 b'two '", "entry STREAM 8 b'three'"]
    assert pair.read(pair.exit) == b"one two three"


def test_a_gap_before_the_end_of_the_stream() -> None:
    pair = Pair.opened()
    pair.exit.write(b"hello")
    pair.exit.finish()
    _, end = pair.send(pair.exit)
    pair.deliver(pair.entry, [end])
    assert not pair.entry.stream_ended
    assert pair.flow() == ["entry SUSPEND", "exit SUSPEND"]
    assert pair.connect()
    pair.flow()
    assert pair.read(pair.entry) == b"hello"
    assert pair.entry.stream_ended


def test_a_suspend_that_waits_to_be_sent_does_not_follow_the_initiator() -> None:
    """It would suspend the path that the Initiator has just opened."""
    pair = Pair.opened()
    pair.exit.write(b"hello")
    pair.exit.write(b"world")
    pair.deliver(pair.entry, pair.send(pair.exit)[1:])
    pair.exit.path_lost(pair.now, "the link was lost")
    assert pair.connect()
    assert pair.flow() == ["exit STREAM 0 b'hello'", "exit STREAM 5 b'world'"]


def test_a_session_out_of_step_takes_no_more_until_it_is_resumed() -> None:
    pair = Pair.opened()
    for data in (b"one ", b"two ", b"three"):
        pair.entry.write(data)
    first, second, third = pair.send(pair.entry)
    pair.deliver(pair.exit, [second, first, third])
    assert pair.read(pair.exit) == b""


def test_what_was_received_twice_is_taken_once() -> None:
    pair = Pair.opened()
    pair.entry.write(b"hello")
    pair.entry.finish()
    messages = pair.send(pair.entry)
    pair.deliver(pair.exit, [*messages, *messages, *messages])
    assert pair.read(pair.exit) == b"hello"
    pair.read_end(pair.exit)
    assert not pair.exit.stream_ended


def test_messages_of_a_path_given_up_are_ignored() -> None:
    pair = Pair.opened()
    pair.exit.write(b"hello")
    pair.exit.finish()
    late = pair.send(pair.exit)
    pair.entry.path_lost(pair.now, "the link was lost")
    offer = pair.entry.connect(pair.now)
    pair.deliver(pair.entry, [*late, Done(SESSION, True), Suspend(SESSION, True)])
    assert pair.entry.path is Path.CONNECTING
    assert pair.read(pair.entry) == b""
    assert pair.answer(offer)
    pair.flow()
    assert pair.read(pair.entry) == b"hello"


def test_credit_may_overtake_the_ack() -> None:
    pair = Pair.opened(window=40 * KIB)
    pair.entry.write(bytes(40 * KIB))
    pair.flow()
    pair.lose_path()
    answer = pair.exit.accept(pair.entry.connect(pair.now), pair.now)
    assert answer
    pair.read(pair.exit)
    pair.deliver(pair.entry, pair.send(pair.exit))
    assert pair.keep.taken == 0
    assert pair.entry.connected(answer, pair.now)
    assert pair.entry.room == 40 * KIB


def test_a_suspend_from_a_path_given_up_makes_the_entry_ask_again() -> None:
    """A proxy could not deliver an older Ack, and says so when the exit has accepted a newer Initiator already."""
    pair = Pair.opened()
    pair.deliver(pair.exit, [Suspend(SESSION, False)])
    assert pair.exit.path is Path.WAITING
    assert pair.flow() == ["exit SUSPEND"]
    assert pair.entry.path is Path.WAITING
    assert pair.connect()


# Credit.


def test_more_than_the_credit_is_a_protocol_error_of_this_session() -> None:
    pair = Pair.opened(window=40 * KIB)
    pair.deliver(pair.exit, [Stream(SESSION, False, 0, bytes(40 * KIB + 1))])
    assert pair.flow()[0].startswith("exit RESET PROTOCOL_ERROR")
    assert pair.events() == ["entry Ended PROTOCOL_ERROR", "exit Ended PROTOCOL_ERROR"]
    assert pair.budgets == (0, 0)


def test_a_sender_stays_within_its_credit() -> None:
    pair = Pair.opened(window=40 * KIB)
    total = 0
    for _ in range(10):
        while room := min(pair.entry.room, 7 * KIB):
            pair.entry.write(bytes(room))
            total += room
        pair.flow()
        assert pair.exit.waiting <= 40 * KIB
        pair.read(pair.exit)
        pair.flow()
    assert total >= 200 * KIB


def test_little_credit_is_told_late() -> None:
    pair = Pair.opened()
    pair.entry.write(b"key")
    pair.flow()
    pair.read(pair.exit)
    assert pair.flow() == []
    assert pair.exit.deadline == pair.now + LATE_CREDIT
    pair.wait(LATE_CREDIT)
    assert pair.flow() == ["exit CREDIT 3 65539"]
    assert pair.exit.deadline is None
    assert pair.keep.taken == 0


def test_telling_credit_late_leaves_the_session_its_time() -> None:
    pair = Pair.opened(resume_timeout=60.0)
    pair.entry.write(b"key")
    pair.flow()
    pair.read(pair.exit)
    pair.lose_path()
    assert pair.exit.deadline == pair.now + LATE_CREDIT
    pair.wait(LATE_CREDIT)
    assert pair.exit.deadline == pair.now - LATE_CREDIT + 60.0
    assert pair.exit.path is Path.WAITING


def test_a_session_without_any_budget_goes_on() -> None:
    keep, allow = Budget(100), Budget(0)
    keep.charge(1000)  # other sessions have it all
    pair = Pair()
    for name in ENDS:
        from_exit = name == "exit"
        end = Session(SESSION, from_exit=from_exit, secret=SECRET, window=Window(Budget(1 << 30)), keep=keep)
        setattr(pair, name, end)
    assert pair.exit.incoming.limit == INITIAL_WINDOW > SMALLEST_WINDOW
    assert pair.connect()
    carried = 0
    for _ in range(10):
        while pair.entry.room:
            pair.entry.write(bytes(pair.entry.room))
            pair.flow()
            carried += len(pair.read(pair.exit))
            pair.flow()
        pair.wait(LATE_CREDIT)
        pair.flow()
    assert carried >= 10 * SMALLEST_WINDOW
    assert allow.taken == 0


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
    assert pair.exit.path is Path.ENDED
    assert pair.flow()[0].startswith("exit RESET PROTOCOL_ERROR")
    assert pair.events()[-1] == "exit Ended PROTOCOL_ERROR"


# The shell's side.


def test_messages_are_cut() -> None:
    pair = Pair.opened(window=256 * KIB)
    pair.entry.write(bytes(200 * KIB))
    sizes = [len(message.payload) for message in pair.send(pair.entry, SEND_AT_MOST) if isinstance(message, Stream)]
    assert sizes == [64 * KIB, 64 * KIB, 64 * KIB, 8 * KIB]


def test_a_full_link_takes_everything_but_the_stream() -> None:
    pair = Pair.opened(window=40 * KIB)
    pair.exit.write(bytes(30 * KIB))
    pair.flow()
    pair.read(pair.entry)
    pair.entry.write(b"hello")
    pair.entry.finish()
    assert [type(message) for message in pair.send(pair.entry, most=0)] == [Credit]
    assert pair.entry.unsent
    assert [type(message) for message in pair.send(pair.entry)] == [Stream, Eof]
    assert not pair.entry.unsent


def test_news_are_events_and_messages_besides_the_stream() -> None:
    pair = Pair()
    assert not pair.entry.has_news
    pair.connect()
    assert pair.entry.has_news
    pair.events()
    assert not pair.entry.has_news
    pair.entry.write(b"hello")
    assert not pair.entry.has_news
    pair.entry.fail(ResetReason.LOCAL_RESET)
    assert pair.entry.has_news


def test_an_entry_that_turns_to_protocol_0_1_leaves_nothing_behind() -> None:
    pair = Pair()
    pair.entry.connect(pair.now)
    pair.entry.abandon()
    pair.exit.fail(ResetReason.LOCAL_RESET)
    assert pair.budgets == (0, 0)
    assert pair.entry.path is Path.ENDED
