from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from hubble.base.errors import ProtocolError
from hubble.protocol.credit import SMALLEST_WINDOW, Budget, Window
from hubble.protocol.streams import Chunk, Incoming, Outgoing, OutOfStep
from tests.support.examples import TIMEOUT

KIB = 1024
PLENTY = 1 << 30


def outgoing(limit: int = 100, budget: Budget | None = None) -> Outgoing:
    stream = Outgoing(budget or Budget(PLENTY))
    stream.acknowledge(0, limit)
    return stream


def incoming(limit: int = 100) -> Incoming:
    return Incoming(Window(Budget(PLENTY), initial=limit))


def sent(stream: Outgoing, most: int = 1000) -> list[tuple[int, bytes]]:
    """All that the stream has to send."""
    parts = []
    while part := stream.next_part(most):
        parts.append((part[0], bytes(part[1])))
    return parts


# The sender's side.


def test_nothing_may_be_written_without_credit() -> None:
    assert Outgoing(Budget(PLENTY)).room == 0


def test_what_is_written_is_sent_in_order_and_cut() -> None:
    stream = outgoing()
    stream.write(b"hello ")
    stream.write(b"world")
    assert sent(stream, most=4) == [(0, b"hell"), (4, b"o "), (6, b"worl"), (10, b"d")]
    assert not stream.unsent


def test_credit_is_used_up_by_writing_and_comes_back() -> None:
    stream = outgoing(limit=10)
    stream.write(b"12345678")
    assert stream.room == 2
    sent(stream)
    stream.acknowledge(5, 15)
    assert stream.room == 7


def test_more_than_the_credit_cannot_be_written() -> None:
    stream = outgoing(limit=3)
    with pytest.raises(AssertionError):
        stream.write(b"1234")


def test_the_limit_never_falls() -> None:
    stream = outgoing(limit=10)
    stream.acknowledge(0, 5)
    assert stream.room == 10


def test_bytes_are_kept_until_they_were_consumed() -> None:
    budget = Budget(PLENTY)
    stream = outgoing(budget=budget)
    stream.write(b"hello")
    sent(stream)
    assert (stream.kept, budget.taken) == (5, 5)
    stream.acknowledge(3, 100)
    assert (stream.kept, budget.taken) == (2, 2)
    stream.acknowledge(2, 100)  # an older word, which changes nothing
    assert (stream.kept, budget.taken) == (2, 2)
    stream.acknowledge(5, 100)
    assert (stream.kept, budget.taken) == (0, 0)


@pytest.mark.parametrize("received", range(2, 11))
def test_rewinding_sends_again_from_any_offset_kept(received: int) -> None:
    stream = outgoing()
    stream.write(b"01234")
    stream.write(b"56789")
    sent(stream, most=3)
    stream.acknowledge(2, 100)
    stream.rewind(received)
    assert b"".join(data for _, data in sent(stream)) == b"0123456789"[received:]
    assert stream.sent == 10


def test_rewinding_again_and_again() -> None:
    stream = outgoing()
    stream.write(b"0123456789")
    for received in (4, 4, 5, 9, 10):
        sent(stream, most=3)
        stream.rewind(received)
    assert sent(stream) == []
    stream.write(b"ab")
    assert sent(stream) == [(10, b"ab")]


def test_rewinding_keeps_the_order_of_what_was_not_sent_yet() -> None:
    stream = outgoing()
    stream.write(b"0123")
    stream.next_part(2)
    stream.write(b"45")
    stream.rewind(1)
    assert sent(stream) == [(1, b"1"), (2, b"23"), (4, b"45")]


@pytest.mark.parametrize("received", [2, 6, 100])
def test_rewinding_to_what_is_not_kept_or_was_never_sent(received: int) -> None:
    stream = outgoing()
    stream.write(b"0123456789")
    stream.next_part(5)
    stream.acknowledge(3, 100)
    with pytest.raises(ProtocolError):
        stream.rewind(received)


def test_the_end_is_sent_after_all_bytes_and_occupies_one_offset() -> None:
    stream = outgoing()
    stream.write(b"hello")
    stream.finish()
    assert stream.next_end() is None
    assert sent(stream) == [(0, b"hello")]
    assert stream.unsent
    assert stream.next_end() == 5
    assert stream.next_end() is None
    assert not stream.unsent
    stream.acknowledge(5, 100)
    assert not stream.complete
    stream.acknowledge(6, 100)
    assert stream.complete


def test_the_end_needs_no_credit() -> None:
    stream = Outgoing(Budget(PLENTY))
    stream.finish()
    assert stream.next_end() == 0


def test_the_end_is_sent_again() -> None:
    stream = outgoing()
    stream.write(b"hello")
    stream.finish()
    for received in (5, 3):
        sent(stream)
        assert stream.next_end() == 5
        stream.rewind(received)
        assert stream.unsent
    assert sent(stream) == [(3, b"lo")]
    assert stream.next_end() == 5
    stream.rewind(6)
    assert stream.next_end() is None


def test_nothing_may_be_written_after_the_end() -> None:
    stream = outgoing()
    stream.finish()
    assert stream.room == 0
    with pytest.raises(AssertionError):
        stream.write(b"x")


@pytest.mark.parametrize("received", [3, 5, 6, 1000])
def test_what_was_never_sent_cannot_have_been_consumed(received: int) -> None:
    """A sender that believed it would let go of bytes that nobody has."""
    budget = Budget(PLENTY)
    stream = outgoing(budget=budget)
    stream.write(b"hello")
    stream.finish()
    stream.next_part(2)
    with pytest.raises(ProtocolError):
        stream.acknowledge(received, 100)
    assert budget.taken == 5


def test_discarding_gives_the_budget_back_once() -> None:
    budget = Budget(PLENTY)
    stream = outgoing(budget=budget)
    stream.write(b"hello")
    stream.next_part(2)
    stream.discard()
    stream.discard()
    assert budget.taken == 0
    assert sent(stream) == []


def test_a_session_goes_on_where_the_budget_has_nothing_left() -> None:
    budget = Budget(10)
    greedy, modest = outgoing(PLENTY, budget), outgoing(PLENTY, budget)
    greedy.write(bytes(SMALLEST_WINDOW))
    assert (greedy.room, modest.room) == (0, SMALLEST_WINDOW)
    modest.write(bytes(1000))
    assert modest.room == SMALLEST_WINDOW - 1000
    greedy.next_part(SMALLEST_WINDOW)
    greedy.acknowledge(SMALLEST_WINDOW, PLENTY)
    greedy.acknowledge(0, PLENTY)
    assert greedy.room == SMALLEST_WINDOW


def test_what_was_read_while_there_was_room_may_be_written_when_others_have_used_it_up() -> None:
    """The shell asks for room, waits for its socket, and other sessions write meanwhile."""
    budget = Budget(100 * KIB)
    late, other = outgoing(PLENTY, budget), outgoing(PLENTY, budget)
    room = late.room
    assert room > 50 * KIB
    other.write(bytes(100 * KIB))
    late.write(bytes(50 * KIB))
    assert budget.taken == 150 * KIB
    assert late.room == 0


# The receiver's side.


def test_bytes_come_out_in_the_order_of_their_offsets() -> None:
    stream = incoming()
    stream.receive(0, b"hello ", now=0.0)
    stream.receive(6, b"world", now=0.0)
    assert stream.waiting == 11
    assert stream.take(1000) == b"hello world"
    assert stream.take(1000) is None
    assert stream.waiting == 11
    stream.consume(11)
    assert stream.waiting == 0


def test_taking_joins_small_chunks_and_never_cuts_one() -> None:
    stream = incoming()
    for offset, chunk in ((0, b"ab"), (2, b"cd"), (4, b"efgh"), (8, b"ij")):
        stream.receive(offset, chunk, now=0.0)
    assert [stream.take(5), stream.take(2), stream.take(100), stream.take(100)] == [b"abcd", b"efgh", b"ij", None]


@pytest.mark.parametrize(
    ("offset", "payload", "new"), [(0, b"01234", None), (3, b"34", None), (2, b"23456", b"56"), (5, b"5", b"5")]
)
def test_bytes_that_are_here_already_are_dropped(offset: int, payload: bytes, new: bytes | None) -> None:
    stream = incoming()
    stream.receive(0, b"01234", now=0.0)
    stream.take(1000)
    stream.receive(offset, payload, now=0.0)
    assert stream.take(1000) == new


def test_a_gap() -> None:
    stream = incoming()
    stream.receive(0, b"01234", now=0.0)
    with pytest.raises(OutOfStep):
        stream.receive(6, b"6", now=0.0)
    with pytest.raises(OutOfStep):
        stream.receive_end(6)
    assert stream.expected == 5


def test_more_than_was_allowed() -> None:
    stream = incoming(limit=10)
    stream.receive(0, bytes(10), now=0.0)
    with pytest.raises(ProtocolError, match="the credit allows 10") as caught:
        stream.receive(10, b"x", now=0.0)
    assert not isinstance(caught.value, OutOfStep)
    assert stream.waiting == 10


def test_the_end() -> None:
    stream = incoming(limit=5)
    stream.receive(0, b"hello", now=0.0)
    stream.receive_end(5)
    assert (stream.ended, stream.waiting) == (False, 5)
    stream.take(1000)
    stream.consume(5)
    assert (stream.ended, stream.complete, stream.waiting) == (True, False, 0)
    stream.consume(1)
    assert (stream.complete, stream.waiting) == (True, 0)


def test_the_end_may_come_twice() -> None:
    stream = incoming()
    stream.receive(0, b"hello", now=0.0)
    stream.receive_end(5)
    stream.receive_end(5)
    stream.receive(3, b"lo", now=0.0)
    assert (stream.expected, stream.end) == (6, 5)


@pytest.mark.parametrize("second", [0, 4, 6])
def test_the_end_stays_where_it_is(second: int) -> None:
    stream = incoming()
    stream.receive(0, b"hello", now=0.0)
    stream.receive_end(5)
    with pytest.raises(ProtocolError) as caught:
        stream.receive_end(second)
    assert not isinstance(caught.value, OutOfStep)
    assert (stream.expected, stream.end) == (6, 5)


@pytest.mark.parametrize("offset", [3, 5, 6])
def test_bytes_after_the_end(offset: int) -> None:
    stream = incoming()
    stream.receive(0, b"hello", now=0.0)
    stream.receive_end(5)
    with pytest.raises(ProtocolError) as caught:
        stream.receive(offset, b"xyz", now=0.0)
    assert not isinstance(caught.value, OutOfStep)


def test_the_end_before_what_has_arrived() -> None:
    stream = incoming()
    stream.receive(0, b"hello", now=0.0)
    with pytest.raises(ProtocolError):
        stream.receive_end(3)


def consume(stream: Incoming, amount: int) -> tuple[int, int] | None:
    stream.consume(amount)
    return stream.credit(now=0.0)


def test_credit_is_told_once_half_the_window_was_consumed() -> None:
    stream = incoming(limit=100 * KIB)
    stream.receive(0, bytes(60 * KIB), now=0.0)
    stream.receive(60 * KIB, bytes(30 * KIB), now=0.0)
    stream.take(1)
    assert consume(stream, 49 * KIB) is None
    assert consume(stream, 1 * KIB) == (50 * KIB, 150 * KIB)
    assert stream.limit == 150 * KIB
    assert consume(stream, 1 * KIB) is None


def test_credit_is_told_sooner_once_nothing_waits() -> None:
    stream = incoming(limit=100 * KIB)
    stream.receive(0, bytes(25 * KIB + 1), now=0.0)
    stream.take(1)
    assert consume(stream, 25 * KIB) is None
    assert consume(stream, 1) == (25 * KIB + 1, 125 * KIB + 1)


def test_less_is_told_late_lest_the_sender_keeps_it_for_ever() -> None:
    stream = incoming(limit=100 * KIB)
    assert stream.credit(now=0.0, late=True) is None
    stream.receive(0, b"hello", now=0.0)
    stream.take(1)
    assert consume(stream, 5) is None
    assert stream.unreported == 5
    assert stream.credit(now=0.0, late=True) == (5, 100 * KIB + 5)
    assert stream.unreported == 0
    assert stream.credit(now=0.0, late=True) is None


def test_the_end_is_told_as_soon_as_it_was_consumed() -> None:
    stream = incoming()
    stream.receive_end(0)
    assert consume(stream, 1) == (1, 101)
    assert stream.credit(now=0.0) is None


def test_discarding_gives_the_window_back() -> None:
    budget = Budget(PLENTY)
    stream = Incoming(Window(budget))
    stream.receive(0, b"hello", now=0.0)
    stream.discard()
    stream.discard()
    assert (budget.taken, stream.take(1000)) == (0, None)


# Both.


class Direction(RuleBasedStateMachine):
    """One direction over a path that loses everything in flight from time to time: all bytes come out, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.keep, self.allow = Budget(40 * KIB), Budget(PLENTY)
        self.outgoing = Outgoing(self.keep)
        self.incoming = Incoming(Window(self.allow, initial=20 * KIB, most=80 * KIB))
        self.outgoing.acknowledge(0, self.incoming.limit)
        self.written, self.consumed = b"", b""
        self.taken: Chunk = b""
        self.flight: list[tuple[int, Chunk | None]] = []
        self.now = 0.0

    @rule(size=st.integers(1, 30 * KIB))
    def write(self, size: int) -> None:
        size = min(size, self.outgoing.room)
        if size:
            data = bytes([len(self.written) % 251]) * size
            self.outgoing.write(data)
            self.written += data

    @precondition(lambda self: len(self.written) > 30 * KIB)
    @rule()
    def finish(self) -> None:
        self.outgoing.finish()

    @rule(most=st.integers(1, 20 * KIB))
    def send(self, most: int) -> None:
        part = self.outgoing.next_part(most)
        if part:
            self.flight.append(part)
        else:
            end = self.outgoing.next_end()
            if end is not None:
                self.flight.append((end, None))

    @rule(count=st.integers(1, 5), twice=st.booleans(), passed=st.floats(0, 1))
    def deliver(self, count: int, twice: bool, passed: float) -> None:
        self.now += passed
        for offset, payload in [message for message in self.flight[:count] for _ in range(1 + twice)]:
            if payload is None:
                self.incoming.receive_end(offset)
            else:
                self.incoming.receive(offset, payload, self.now)
        del self.flight[:count]

    @rule(most=st.integers(1, 40 * KIB), told=st.booleans())
    def consume(self, most: int, told: bool) -> None:
        taken = self.incoming.take(most)
        if taken:
            self.consumed += taken
            self.incoming.consume(len(taken))
        elif self.incoming.ended and not self.incoming.complete:
            assert self.consumed == self.written
            self.incoming.consume(1)
        credit = self.incoming.credit(self.now)
        if credit and told:
            self.outgoing.acknowledge(*credit)

    @rule(kept=st.integers(0, 5))
    def lose(self, kept: int) -> None:
        self.deliver(count=kept, twice=False, passed=0.0)
        self.flight.clear()
        self.outgoing.rewind(self.incoming.expected)
        self.outgoing.acknowledge(self.incoming.consumed, self.incoming.limit)

    @invariant()
    def nothing_is_lost_doubled_or_reordered(self) -> None:
        assert self.written.startswith(self.consumed)

    @invariant()
    def the_offsets_agree(self) -> None:
        out, into = self.outgoing, self.incoming
        assert out.acknowledged <= into.consumed <= into.expected <= out.sent <= out.end + out.finished
        assert len(self.consumed) == min(into.consumed, len(self.written))
        assert out.end <= into.limit
        assert self.keep.taken == out.kept <= max(40 * KIB, self.keep.taken)

    def teardown(self) -> None:
        self.finish()
        for _ in range(1000):
            if self.outgoing.complete:
                break
            self.send(20 * KIB)
            self.deliver(5, False, 0.0)
            self.consume(40 * KIB, True)
        assert self.consumed == self.written
        assert self.incoming.complete
        assert self.outgoing.complete
        self.incoming.discard()
        assert self.keep.taken == self.allow.taken == 0


TestDirection = pytest.mark.timeout(TIMEOUT)(Direction.TestCase)


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=20), st.integers(1, 60), st.integers(1, 60))
def test_however_it_is_cut_it_is_whole(chunks: list[bytes], part: int, most: int) -> None:
    sender, receiver = outgoing(limit=PLENTY), incoming(limit=1 << 20)
    for chunk in chunks:
        sender.write(chunk)
    for offset, data in sent(sender, most=part):
        receiver.receive(offset, data, now=0.0)
    whole = b""
    while taken := receiver.take(most):
        whole += taken
    assert whole == b"".join(chunks)
