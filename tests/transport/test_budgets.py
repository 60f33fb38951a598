"""What a side may send, however small, has a budget; and while it is dealt with, others have their turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from unittest.mock import patch

import gevent
import pytest
from gevent.event import Event
from hypothesis import given
from hypothesis import strategies as st
from websockets.protocol import CLIENT, SERVER, Side

from hubble.protocol.codec import MAX_MESSAGE
from hubble.transport import framing
from hubble.transport.framing import CONTROLS_PER_SECOND, FIRST_FRAMES, FRAMES_AT_A_TIME, Framing
from hubble.transport.link import Link
from hubble.transport.reader import FEW
from hubble.transport.tlssocket import RECORDS_AT_A_TIME, TLSSocket
from tests.support.frames import BINARY, CONT, PING, PONG, TEXT, RawFrame, binary, in_two
from tests.support.links import Owner, Peer
from tests.support.pairs import PATIENCE, Pair, Pairs
from tests.transport.test_framing import SIDES, closed_with, is_masked, receive

BURST = int(CONTROLS_PER_SECOND)
FIRST = 1000


class Clock:
    """Time that passes when it is told to, and with each look at it."""

    def __init__(self, step: float = 0.0) -> None:
        self.now = 1000.0
        self.step = step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


class TestControlsAndFragments:
    @SIDES
    @pytest.mark.parametrize("opcode", [PING, PONG])
    def test_as_many_as_the_budget_has(self, side: Side, opcode: int) -> None:
        clock = Clock()
        ours = Framing(side, clock=clock)
        frame = bytes(RawFrame(opcode, b"?", masked=is_masked(side)))
        for _ in range(3):
            receive(ours, frame * BURST)
            assert ours.failure is None
            assert len(ours.controls()) == BURST
            clock.now += 1.0
        receive(ours, frame * (BURST + 1))
        assert closed_with(side, ours) == 1008

    @SIDES
    @pytest.mark.parametrize("payload", [b"", b"x", bytes(100)], ids=["empty", "tiny", "small"])
    def test_small_fragments(self, side: Side, payload: bytes) -> None:
        ours = Framing(side, clock=Clock())
        masked = is_masked(side)
        begun = bytes(RawFrame(BINARY, bytes(10), fin=False, masked=masked))
        assert receive(ours, begun + bytes(RawFrame(CONT, payload, fin=False, masked=masked)) * 3 * BURST) == []
        assert closed_with(side, ours) == 1008

    @SIDES
    def test_messages_in_two_empty_fragments(self, side: Side) -> None:
        ours = Framing(side, clock=Clock())
        assert len(receive(ours, in_two(b"", masked=is_masked(side)) * BURST)) <= BURST // 2 + 2
        assert closed_with(side, ours) == 1008

    @SIDES
    @pytest.mark.parametrize("size", [1025, 1100, 2048])
    def test_those_of_the_original_cost_nothing(self, side: Side, size: int) -> None:
        ours = Framing(side, clock=Clock())
        assert receive(ours, in_two(bytes(size), masked=is_masked(side)) * 3000) == [bytes(size)] * 3000
        assert ours.failure is None

    @SIDES
    def test_large_fragments_cost_nothing(self, side: Side) -> None:
        ours = Framing(side, clock=Clock())
        masked = is_masked(side)
        begun = bytes(RawFrame(BINARY, bytes(300), fin=False, masked=masked))
        more = bytes(RawFrame(CONT, bytes(300), fin=False, masked=masked))
        assert receive(ours, begun + more * 3000 + bytes(RawFrame(CONT, masked=masked))) == [bytes(300 * 3001)]

    @SIDES
    def test_nothing_behind_a_breach_is_looked_at(self, side: Side) -> None:
        ours = Framing(side, clock=Clock())
        masked = is_masked(side)
        assert receive(ours, bytes(RawFrame(PING, masked=masked)) * 1000 + binary(b"late", masked=masked)) == []
        assert receive(ours, binary(b"too late", masked=masked)) == []
        assert not ours.has_rest

    @pytest.mark.timeout(300)  # for `make test-deep`
    @SIDES
    def test_whatever_the_order(self, side: Side) -> None:
        """Counted by hand, beside messages that cost nothing, cut anywhere."""
        masked, rate = is_masked(side), 5.0
        kinds = {"ping": bytes(RawFrame(PING, b"1", masked=masked)), "message": binary(b"m", masked=masked)}
        kinds["fragments"] = in_two(b"", masked=masked)
        costs = {"ping": 1.0, "message": 0.0}
        step = st.tuples(st.sampled_from(list(kinds)), st.sampled_from([0.0, 0.0, 0.01, 0.5, 2.0]))

        @given(steps=st.lists(step, max_size=40), cuts=st.lists(st.integers(0, 20), max_size=3))
        def check(steps: list[tuple[str, float]], cuts: list[int]) -> None:
            clock = Clock()
            with patch.object(framing, "CONTROLS_PER_SECOND", rate):
                ours = Framing(side, clock=clock)
            left, got, wanted = rate, 0, 0
            for kind, pause in steps:
                clock.now += pause
                left = min(rate, left + pause * rate)
                data = kinds[kind]
                got += len(receive(ours, data, [min(cut, len(data)) for cut in cuts]))
                cost = costs.get(kind, 2.0 - len(data) / framing.FRAGMENT_SIZE)
                if left < cost:
                    assert closed_with(side, ours) == 1008
                    break
                left -= cost
                wanted += kind != "ping"
                assert ours.failure is None
            assert got == wanted

        check()


class TestStrangers:
    @SIDES
    def test_the_first_message_has_a_limit_of_its_own(self, side: Side) -> None:
        masked = is_masked(side)
        for size, code in ((FIRST, 0), (FIRST + 1, 1009)):
            ours = Framing(side, first_limit=FIRST)
            assert receive(ours, binary(bytes(size), masked=masked)) == [bytes(size)] * (not code)
            assert not code or closed_with(side, ours) == code

    @SIDES
    def test_its_fragments_count_together(self, side: Side) -> None:
        ours = Framing(side, first_limit=FIRST)
        assert receive(ours, in_two(bytes(FIRST + 1), masked=is_masked(side), first=500)) == []
        assert closed_with(side, ours) == 1009

    @SIDES
    def test_it_is_refused_by_its_header(self, side: Side) -> None:
        ours = Framing(side, first_limit=FIRST)
        assert receive(ours, binary(bytes(FIRST + 1), masked=is_masked(side))[:8]) == []
        assert closed_with(side, ours) == 1009

    @SIDES
    def test_a_later_one_is_as_long_as_any(self, side: Side) -> None:
        ours = Framing(side, first_limit=FIRST)
        messages = [b"hello", bytes(MAX_MESSAGE)]
        assert receive(ours, b"".join(binary(each, masked=is_masked(side)) for each in messages)) == messages

    @SIDES
    def test_few_frames_come_before_it(self, side: Side) -> None:
        masked = is_masked(side)
        pong, hello = bytes(RawFrame(PONG, masked=masked)), binary(b"hello", masked=masked)
        assert receive(Framing(side, first_limit=FIRST), pong * (FIRST_FRAMES - 1) + hello) == [b"hello"]
        ours = Framing(side, first_limit=FIRST)
        assert receive(ours, pong * FIRST_FRAMES + hello) == []
        assert closed_with(side, ours) == 1008

    @SIDES
    def test_it_may_come_byte_by_byte(self, side: Side) -> None:
        hello = binary(bytes(FIRST), masked=is_masked(side))
        assert receive(Framing(side, first_limit=FIRST), hello, list(range(len(hello)))) == [bytes(FIRST)]


class TestTurns:
    """The clock moves at each look, so that a slice is always over; a ticker counts what comes between its turns."""

    @pytest.fixture
    def ticker(self, pair: Pair) -> Iterator[Callable[[bytes], int]]:
        owner = Owner(Link(pair.server, SERVER, clock=Clock(step=0.01)))

        def most_between_turns(data: bytes) -> int:
            counts, end = [0], Event()

            def tick() -> None:
                while not end.is_set():
                    gevent.idle(priority=1)
                    counts.append(len(owner.received))

            ticking = gevent.spawn(tick)
            gevent.spawn(pair.client.sendall, data)
            owner.wait_received(data.count(binary(b"m", masked=True)))
            end.set()
            ticking.join(PATIENCE)
            return max(later - earlier for earlier, later in pairwise(counts))

        yield most_between_turns
        owner.link.abort("the test is over")

    def test_others_have_theirs_in_the_midst_of_a_read(self, ticker: Callable[[bytes], int]) -> None:
        assert ticker(binary(b"m", masked=True) * 2000) <= 2 * FEW

    def test_a_slice_ends_by_the_clock(self, memory_pair: Pair) -> None:
        """Without a clock that moves, a read is dealt with in one go."""
        clock = Clock()
        owner = Owner(Link(memory_pair.server, SERVER, clock=clock))
        turns = 0

        def count_turns() -> None:
            nonlocal turns
            while True:
                gevent.idle(priority=1)
                turns += bool(owner.received)

        counting = gevent.spawn(count_turns)
        memory_pair.client.sendall(binary(b"m", masked=True) * 1000)
        owner.wait_received(1000)
        assert turns <= 2
        counting.kill()
        owner.link.abort("the test is over")

    @SIDES
    def test_a_step_deals_with_few_frames(self, side: Side) -> None:
        ours = Framing(side)
        stream = binary(b"m", masked=is_masked(side)) * 1000
        counts = [len(ours.receive(memoryview(bytearray(stream))))]
        while ours.has_rest:
            counts.append(len(ours.receive_rest()))
        assert max(counts) == FRAMES_AT_A_TIME and sum(counts) == 1000

    def test_others_have_theirs_between_tiny_records(self, all_pairs: Pairs) -> None:
        pair = all_pairs.make("tls")
        for at in range(len(message := binary(bytes(2000), masked=True))):
            pair.client.sendall(message[at : at + 1])
        owner, turns = Owner(Link(pair.server, SERVER, clock=Clock(step=0.01))), 0
        while not owner.received:
            gevent.idle(priority=1)
            turns += 1
        assert turns > len(message) // RECORDS_AT_A_TIME
        owner.link.abort("the test is over")

    def test_tiny_records_of_tls(self, all_pairs: Pairs) -> None:
        pair = all_pairs.make("tls")
        assert isinstance(pair.server, TLSSocket)
        for _ in range(1000):
            pair.client.sendall(b"x")
        pair.client.close()
        buffer, total = memoryview(bytearray(1 << 18)), 0
        while count := pair.server.recv_into(buffer):
            assert count <= RECORDS_AT_A_TIME
            total += count
        assert total == 1000


class TestLinks:
    @pytest.mark.parametrize(
        ("frame", "code"),
        [
            (RawFrame(PING), 1008),
            (RawFrame(PONG), 1008),
            (RawFrame(BINARY, fin=False), 1002),
            (RawFrame(TEXT), 1003),
            (RawFrame(TEXT, fin=False), 1003),
        ],
    )
    def test_close_who_sends_too_many(self, pair: Pair, frame: RawFrame, code: int) -> None:
        owner, peer = Owner(Link(pair.server, SERVER)), Peer(pair.client, CLIENT)
        sending = gevent.spawn(peer.send, bytes(frame) * 100_000)
        assert peer.close_received()[0] == code
        assert "broke the WebSocket protocol" in owner.link.why
        sending.kill()
        owner.link.abort("the test is over")

    def test_what_follows_is_drained_slowly(self, memory_pair: Pair) -> None:
        """Until the other side has read why the link ends, it cannot make anybody work."""
        owner, peer = Owner(Link(memory_pair.server, SERVER)), Peer(memory_pair.client, CLIENT)
        peer.send(bytes(RawFrame(TEXT, masked=True)))
        assert peer.close_received()[0] == 1003
        sent = 0

        def send() -> None:
            nonlocal sent
            while True:
                sent += peer.sock.send(bytes(1 << 16))

        sending = gevent.spawn(send)
        owner.wait_end()
        sending.kill()
        assert sent < 64 << 20
