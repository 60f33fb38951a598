"""A session goes on where it was, with its owner and with nobody else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hubble.base.errors import ProtocolError
from hubble.protocol.messages import Credit, Done, Suspend, Terms
from hubble.protocol.session import LATE_CREDIT
from hubble.protocol.states import PathState
from tests.protocol.pair import ENDS, KIB, SECRET, SESSION, Pair

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
    one, other = pair.end(name), pair.other(pair.end(name))
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
    assert (pair.entry.path, pair.exit.path) == (PathState.WAITING, PathState.WAITING)
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
    assert pair.entry.path is pair.exit.path is PathState.OPEN


def test_losing_what_is_lost_already_does_not_prolong_it() -> None:
    pair = Pair.opened(resume_timeout=60.0)
    pair.lose_path()
    pair.wait(30.0)
    pair.entry.connect(pair.now)
    pair.lose_path()
    pair.wait(30.0)
    assert pair.entry.path is pair.exit.path is PathState.ENDED


# Stale and hostile resumptions.


def test_the_ack_of_an_older_attempt() -> None:
    pair = Pair.opened()
    pair.lose_path()
    older = pair.exit.accept(pair.entry.connect(pair.now), pair.now)
    assert older
    pair.lose_path()
    offer = pair.entry.connect(pair.now)
    assert not pair.entry.connected(older, pair.now)
    assert pair.entry.path is PathState.CONNECTING
    assert pair.answer(offer)
    assert not pair.entry.connected(older, pair.now)


def test_an_ack_that_nobody_waits_for() -> None:
    pair = Pair()
    answer = pair.exit.accept(pair.entry.connect(pair.now), pair.now)
    assert answer
    pair.entry.path_lost(pair.now, "the link was lost")
    assert not pair.entry.connected(answer, pair.now)
    assert pair.entry.path is PathState.WAITING


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
    assert pair.exit.path is PathState.OPEN
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
    assert pair.exit.path is PathState.WAITING
    assert pair.flow() == ["exit SUSPEND"]
    assert pair.entry.path is PathState.WAITING
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
    offer = pair.entry.connect(pair.now)
    assert pair.send(pair.entry) == []
    assert pair.answer(offer)
    assert pair.flow() == ["exit STREAM 0 b'hello'", "exit STREAM 5 b'world'"]


def test_a_suspend_that_waits_to_be_sent_does_not_follow_the_ack() -> None:
    pair = Pair.opened()
    pair.deliver(pair.exit, [Suspend(SESSION, False)])
    pair.entry.path_lost(pair.now, "the link was lost")
    assert pair.connect()
    assert pair.flow() == []


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
    assert pair.entry.path is PathState.CONNECTING
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
    assert pair.exit.path is PathState.WAITING
    assert pair.flow() == ["exit SUSPEND"]
    assert pair.entry.path is PathState.WAITING
    assert pair.connect()
