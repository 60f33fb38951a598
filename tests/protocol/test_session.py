from __future__ import annotations

import pytest

from hubble.base.errors import ProtocolError
from hubble.protocol.codec import decode, encode
from hubble.protocol.interface import SEND_AT_MOST
from hubble.protocol.messages import Ack, Credit, Done, Eof, Refusal, Reset, ResetReason, Stream, Terms
from hubble.protocol.session import OPEN_TIMEOUT
from hubble.protocol.states import PathState
from tests.protocol.pair import ENDS, KIB, SECRET, SESSION, Pair

# Opening.


def test_opening() -> None:
    pair = Pair(window=100 * KIB)
    assert (pair.entry.path, pair.exit.path) == (PathState.WAITING, PathState.WAITING)
    offer = pair.entry.connect(pair.now)
    assert offer == Terms(attempt=1, received=0, limit=100 * KIB, secret=SECRET, resume=False)
    assert pair.entry.path is PathState.CONNECTING
    answer = pair.exit.accept(offer, pair.now)
    assert answer == Terms(attempt=1, received=0, limit=100 * KIB)
    assert pair.entry.connected(answer, pair.now)
    assert (pair.entry.path, pair.exit.path) == (PathState.OPEN, PathState.OPEN)
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
    assert pair.entry.path is PathState.CONNECTING
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
def test_a_patient_entry_asks_again_for_a_new_session(code: Refusal) -> None:
    pair = Pair()
    pair.entry.connect(pair.now)
    again = code in (Refusal.NO_GATEWAY, Refusal.BUSY, Refusal.LIMIT)
    assert pair.entry.refused(code, "not now", pair.now, patient=True) is again
    assert pair.entry.path is (PathState.WAITING if again else PathState.ENDED)
    if again:
        assert pair.connect()
        assert pair.events() == ["entry Opened", "exit Opened"]


@pytest.mark.parametrize("code", list(Refusal))
def test_a_resumption_is_refused(code: Refusal) -> None:
    pair = Pair.opened()
    pair.lose_path()
    pair.events()
    pair.entry.connect(pair.now)
    again = code in (Refusal.NO_GATEWAY, Refusal.BUSY, Refusal.LIMIT)
    assert pair.entry.refused(code, "not now", pair.now) is again
    assert pair.entry.path is (PathState.WAITING if again else PathState.ENDED)
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
    assert pair.entry.path is PathState.WAITING
    pair.wait(1.0)
    assert pair.events()[-2:] == ["exit Suspended", "exit Ended NOT_RESUMED"]
    assert pair.entry.path.name == PathState.ENDED.name


@pytest.mark.parametrize("path", [PathState.WAITING, PathState.OPEN, PathState.ENDED])
def test_a_refusal_that_nobody_waits_for(path: PathState) -> None:
    pair = Pair() if path is PathState.WAITING else Pair.opened()
    if path is PathState.ENDED:
        pair.entry.fail(ResetReason.LOCAL_RESET)
    assert not pair.entry.refused(Refusal.UNAUTHORIZED, "no", pair.now)
    assert pair.entry.path is path


# Half-close.


@pytest.mark.parametrize("first", ENDS)
def test_one_end_finishes_and_still_receives(first: str) -> None:
    pair = Pair.opened()
    one, other = pair.end(first), pair.other(pair.end(first))
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
    assert pair.entry.path is PathState.OPEN
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
    assert pair.exit.path is PathState.ENDED
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
    assert pair.entry.path is PathState.ENDED
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
    assert pair.entry.path is PathState.ENDED


def test_an_initiator_of_the_old_protocol_resumes_nothing() -> None:
    pair = Pair.opened()
    with pytest.raises(ProtocolError, match=r"0\.1"):
        pair.exit.accept(None, pair.now)
    assert pair.exit.path is PathState.OPEN


def test_a_move_that_its_state_does_not_allow_is_a_mistake_of_the_caller() -> None:
    pair = Pair.opened()
    with pytest.raises(AssertionError):
        pair.entry.connect(pair.now)
    assert pair.entry.path is PathState.OPEN


def test_credit_holds_a_session_back_not_its_link_s_reader() -> None:
    pair = Pair.opened()
    pair.entry.write(b"x" * KIB)
    pair.flow()
    assert pair.exit.waiting == KIB and not pair.exit.overfull and pair.exit.resumable


def test_what_is_sent_is_kept_until_it_is_consumed() -> None:
    pair = Pair()
    assert not pair.entry.may_downgrade
    offer = pair.entry.connect(pair.now)
    assert pair.entry.may_downgrade
    assert pair.answer(offer) and not pair.entry.may_downgrade
    pair.entry.write(b"x" * KIB)
    pair.flow()
    assert pair.entry.kept == KIB


def test_the_terms_say_how_long_a_link_takes() -> None:
    terms = Terms(1, 0, KIB, round_trip=1500)
    ack = decode(encode(Ack(SESSION, True, terms=terms)))
    assert isinstance(ack, Ack) and ack.terms == terms
