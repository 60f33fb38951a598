from __future__ import annotations

import json
from pathlib import Path as File

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubble.base.errors import ProtocolError
from hubble.protocol.codec import decode
from hubble.protocol.interface import SEND_AT_MOST
from hubble.protocol.legacy.session import LegacySession
from hubble.protocol.messages import (
    Ack,
    ConnectionClosed,
    Data,
    Initiator,
    Message,
    Refusal,
    Reset,
    ResetReason,
    Stream,
    Terminator,
)
from hubble.protocol.states import Ended, Opened, PathState

SESSION = bytes(range(16))
NOW = 0.0


def opened(from_exit: bool = False) -> LegacySession:
    session = LegacySession(SESSION, from_exit=from_exit, deadline=30.0)
    session.open()
    assert session.events() == [Opened()]
    return session


def sent(session: LegacySession) -> list[Message]:
    messages = []
    while message := session.next_message():
        messages.append(message)
    return messages


def delivered(session: LegacySession) -> bytes:
    """What the local socket is given, and takes."""
    whole = b""
    while (chunk := session.next_bytes()) is not None:
        whole += chunk
        session.consumed(len(chunk), NOW)
    return whole


def data(order: int, payload: bytes = b"") -> Data:
    return Data(SESSION, order, payload)


def test_nothing_may_be_written_before_the_ack() -> None:
    session = LegacySession(SESSION, from_exit=False)
    assert session.room == 0
    session.open()
    assert session.room == SEND_AT_MOST == 64 * 1024


def test_data_is_numbered_from_1_and_ends_with_an_empty_one_and_connection_closed() -> None:
    session = opened()
    session.write(b"hello")
    session.write(b"world")
    session.finish()
    assert session.unsent
    assert sent(session) == [data(1, b"hello"), data(2, b"world"), data(3), ConnectionClosed(SESSION)]
    assert not session.unsent
    assert session.room == 0


def test_one_read_of_the_socket_waits_at_most() -> None:
    session = opened()
    session.write(b"hello")
    assert session.room == 0
    sent(session)
    assert session.room == SEND_AT_MOST


def test_the_other_side_ends_first() -> None:
    session = opened()
    session.receive(data(1, b"hello"), NOW)
    session.receive(data(2), NOW)
    assert not session.stream_ended
    assert delivered(session) == b"hello"
    assert session.stream_ended
    session.consumed(1, NOW)
    assert not session.stream_ended
    session.receive(Terminator(SESSION), NOW)
    assert session.events() == [Ended()]
    assert session.finished


def test_the_answer_to_our_own_end_is_a_normal_one_though_it_cuts_the_other_stream() -> None:
    session = opened()
    session.receive(data(1, b"all there was"), NOW)
    session.finish()
    while session.next_message():
        pass
    session.receive(Terminator(SESSION), NOW)
    assert delivered(session) == b"all there was"
    assert session.events() == [Ended(cut=True)]


def test_a_terminator_that_crosses_our_own_end_is_a_reset() -> None:
    session = opened()
    session.finish()
    session.receive(Terminator(SESSION), NOW)
    (ended,) = session.events()
    assert isinstance(ended, Ended) and ended.reason is ResetReason.UNSPECIFIED


def test_small_pieces_are_delivered_together() -> None:
    session = opened()
    for order in range(1, 11):
        session.receive(data(order, b"x" * 1000), NOW)
    assert len(session.next_bytes(4500) or b"") == 4000
    session.consumed(4000, NOW)
    assert len(session.next_bytes() or b"") == 6000


def test_what_arrived_before_the_terminator_is_delivered_first() -> None:
    session = opened(from_exit=True)
    for message in (data(1, b"hello "), data(2, b"world"), data(3), Terminator(SESSION)):
        session.receive(message, NOW)
    assert session.waiting == 11
    assert session.events() == []
    assert not session.finished
    assert delivered(session) == b"hello world"
    assert session.events() == [Ended()]


def test_a_terminator_before_the_end_of_the_stream_is_a_reset() -> None:
    session = opened()
    session.receive(data(1, b"half of it"), NOW)
    session.receive(Terminator(SESSION), NOW)
    assert session.events() == []
    assert delivered(session) == b"half of it"
    assert not session.stream_ended
    (ended,) = session.events()
    assert isinstance(ended, Ended)
    assert ended.reason is ResetReason.UNSPECIFIED


@pytest.mark.parametrize("order", [0, 1, 3, 1 << 40])
def test_a_gap_is_a_reset(order: int) -> None:
    session = opened()
    session.receive(data(1, b"hello"), NOW)
    session.receive(data(order, b"world"), NOW)
    (ended,) = session.events()
    assert isinstance(ended, Ended)
    assert ended.reason is ResetReason.PROTOCOL_ERROR
    assert sent(session) == [ConnectionClosed(SESSION)]
    assert delivered(session) == b""


def test_bytes_after_the_end_of_the_stream_are_a_reset() -> None:
    session = opened()
    session.receive(data(1), NOW)
    session.receive(data(2, b"more"), NOW)
    (ended,) = session.events()
    assert isinstance(ended, Ended)
    assert ended.reason is ResetReason.PROTOCOL_ERROR


def test_what_ended_abnormally_is_never_seen_as_a_clean_end() -> None:
    """The end of the stream had arrived, but what stood before it was dropped."""
    for way in ("link", "reset", "socket"):
        session = opened()
        session.receive(data(1, b"hello"), NOW)
        session.receive(data(2), NOW)
        if way == "link":
            session.path_lost(NOW, "the link was lost")
        elif way == "reset":
            session.receive(Reset(SESSION, True, ResetReason.REVOKED), NOW)
        else:
            session.fail(ResetReason.LOCAL_RESET)
        assert session.next_bytes() is None
        assert not session.stream_ended
        (ended,) = session.events()
        assert isinstance(ended, Ended)
        assert ended.reason is not None


def test_a_local_failure_tells_the_proxy() -> None:
    session = opened()
    session.write(b"dropped")
    session.fail(ResetReason.LOCAL_RESET, "connection reset by peer")
    session.fail(ResetReason.LOCAL_RESET, "again")
    assert sent(session) == [ConnectionClosed(SESSION)]
    assert session.events() == [Ended(ResetReason.LOCAL_RESET, "connection reset by peer")]


def test_a_failure_after_the_end_was_queued_tells_the_proxy_too() -> None:
    session = opened()
    session.finish()
    session.fail(ResetReason.LOCAL_RESET)
    assert sent(session) == [ConnectionClosed(SESSION)]


def test_a_failure_after_the_end_was_sent_says_nothing_twice() -> None:
    session = opened()
    session.finish()
    sent(session)
    session.fail(ResetReason.LOCAL_RESET)
    assert sent(session) == []


def test_a_link_that_is_lost_ends_the_session() -> None:
    session = opened()
    session.write(b"hello")
    session.path_lost(NOW, "silent for 40 s")
    assert sent(session) == []
    assert session.events() == [Ended(ResetReason.NOT_RESUMED, "silent for 40 s; protocol 0.1 cannot resume")]


def test_what_the_socket_still_gives_after_the_end_is_dropped() -> None:
    session = opened()
    session.receive(Reset(SESSION, True, ResetReason.REVOKED), NOW)
    session.write(b"late")
    session.finish()
    assert sent(session) == []


def test_only_an_ack_is_waited_for() -> None:
    session = LegacySession(SESSION, from_exit=False, deadline=30.0)
    session.expire(29.9)
    assert session.path is PathState.CONNECTING
    session.expire(30.0)
    assert session.events() == [Ended(ResetReason.REFUSED, "no answer")]
    assert sent(session) == [ConnectionClosed(SESSION)]
    assert session.deadline is None
    session = opened()
    assert session.deadline is None
    session.expire(1e9)
    assert session.path is PathState.OPEN


def test_a_refusal() -> None:
    session = LegacySession(SESSION, from_exit=False)
    assert not session.refused(Refusal.UNSPECIFIED, "Gateway not registered", NOW)
    assert session.events() == [Ended(ResetReason.REFUSED, "Gateway not registered")]


def test_a_message_of_the_extension_has_no_place_here() -> None:
    session = opened()
    session.receive(Stream(SESSION, True, 0, b"x"), NOW)
    (ended,) = session.events()
    assert isinstance(ended, Ended)
    assert ended.reason is ResetReason.PROTOCOL_ERROR


def test_nothing_leaves_the_end() -> None:
    session = opened()
    session.receive(Terminator(SESSION), NOW)
    session.events()
    for message in (data(1, b"hello"), data(2), Terminator(SESSION), Reset(SESSION, True, ResetReason.REVOKED)):
        session.receive(message, NOW)
    session.path_lost(NOW, "the link was lost")
    session.fail(ResetReason.LOCAL_RESET)
    assert (session.events(), session.next_bytes(), session.stream_ended) == ([], None, False)
    assert session.has_news is False


RECORDED = json.loads((File(__file__).parents[1] / "vectors" / "wire-0.1.json").read_text())


@pytest.mark.parametrize("receiver", ["entry agent", "exit agent"])
@pytest.mark.parametrize("scenario", sorted({vector["scenario"] for vector in RECORDED if vector["message"] == "DATA"}))
def test_the_recorded_sessions(scenario: str, receiver: str) -> None:
    """What the original's agents were sent: every byte of it is delivered, and the end is what it was."""
    messages = [
        decode(bytes.fromhex(vector["hex"]))
        for vector in RECORDED
        if (vector["scenario"], vector["receiver"]) == (scenario, receiver)
    ]
    (begun,) = (message for message in messages if isinstance(message, Initiator | Ack) and message.session)
    session = opened(from_exit=receiver == "exit agent")
    carried = [message for message in messages if isinstance(message, Data)]
    terminated = Terminator(begun.session) in messages
    for message in messages:
        if isinstance(message, Data | Terminator) and message.session == begun.session:
            session.receive(message, NOW)
    ended = [event for event in session.events() if isinstance(event, Ended)]
    if [message.order for message in carried] != list(range(1, len(carried) + 1)):  # the original's own loss
        assert [event.reason for event in ended] == [ResetReason.PROTOCOL_ERROR]
        return
    assert delivered(session) == b"".join(message.data for message in carried)
    ended += [event for event in session.events() if isinstance(event, Ended)]
    whole = bool(carried) and not carried[-1].data
    assert [event.reason is None for event in ended] == [whole] * terminated


@given(st.lists(st.binary(min_size=1, max_size=100), max_size=20), st.booleans())
def test_all_that_is_written_arrives(chunks: list[bytes], from_exit: bool) -> None:
    sender, receiver = opened(from_exit), opened(not from_exit)
    for chunk in chunks:
        sender.write(chunk)
        for message in sent(sender):
            receiver.receive(message, NOW)
    sender.finish()
    for message in sent(sender):
        receiver.receive(Terminator(SESSION) if isinstance(message, ConnectionClosed) else message, NOW)
    assert delivered(receiver) == b"".join(chunks)
    assert receiver.events() == [Ended()]


def test_nothing_is_kept_for_a_resumption() -> None:
    session = LegacySession(SESSION, from_exit=False, deadline=30.0)
    assert not session.resumable and not session.may_downgrade and session.connect(NOW) is None
    assert session.connected(None, NOW) and not session.connected(None, NOW)
    session.write(b"x")
    assert (session.kept, session.unsent) == (0, True)


def test_what_an_application_does_after_the_end_is_dropped() -> None:
    session = opened()
    session.abandon()
    session.finish()
    session.fail(ResetReason.LOCAL_RESET)
    assert sent(session) == [] and session.events() == []


def test_an_exit_accepts_once() -> None:
    session = LegacySession(SESSION, from_exit=True)
    assert not session.established
    assert session.accept(None, NOW) is None and session.established and not session.overfull
    with pytest.raises(ProtocolError, match="cannot be resumed"):
        session.accept(None, NOW)
