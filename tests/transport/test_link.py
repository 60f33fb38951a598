from __future__ import annotations

import gc
import os
import struct
import weakref
from collections.abc import Iterator
from functools import partial
from typing import Any

import gevent
import pytest
from gevent import socket
from gevent.event import Event
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.frames import Opcode
from websockets.protocol import CLIENT, SERVER, Side

from hubble.protocol.codec import MAX_MESSAGE
from hubble.protocol.fairqueue import LANE_SIZE, Lane
from hubble.transport import framing
from hubble.transport import link as link_module
from hubble.transport.link import Keepalive, Link
from tests.support.frames import BINARY, CLOSE, CONT, PING, TEXT, RawFrame, binary, close, in_two
from tests.support.links import Owner, Peer, client_and_server
from tests.support.pairs import KINDS, PATIENCE, Pair, Pairs
from tests.support.waiting import poll

A, B, C = b"a", b"b", b"c"
"""Lanes."""
BLOCK = bytes(range(256)) * 256
"""64 KiB."""


def _has_round_trip(link: Link) -> bool:
    return link.round_trip is not None


@pytest.fixture
def ends(pair: Pair) -> Iterator[tuple[Owner, Owner]]:
    """A link's two ends, the client's and the server's, both read."""
    client, server = client_and_server(*pair)
    yield client, server
    client.link.abort("the test is over")
    server.link.abort("the test is over")


@pytest.fixture(params=[SERVER, CLIENT], ids=["server", "client"])
def side(request: pytest.FixtureRequest) -> Side:
    """Which side the link is that faces a peer."""
    return request.param


@pytest.fixture
def facing(pair: Pair, side: Side) -> Iterator[tuple[Owner, Peer]]:
    """A link of either side, which is read, and a peer, over each kind of socket."""
    yield from face(pair, side)


@pytest.fixture
def server(memory_pair: Pair) -> Iterator[tuple[Owner, Peer]]:
    """A server's link, which is read, and a peer, over the plainest kind of socket."""
    yield from face(memory_pair, SERVER)


def face(pair: Pair, side: Side, **options: Any) -> Iterator[tuple[Owner, Peer]]:
    mine, theirs = (pair.server, pair.client) if side is SERVER else (pair.client, pair.server)
    owner = Owner(Link(mine, side, **options))
    yield owner, Peer(theirs, CLIENT if side is SERVER else SERVER)
    owner.link.abort("the test is over")


def fill(link: Link, lane: bytes, most: int = 64) -> int:
    """Puts blocks into a lane, whose link is not read, until it stays full; how many."""
    for count in range(most):
        if link.is_full(lane):
            return count
        link.send(BLOCK, lane)
        gevent.idle()
    raise AssertionError("the lane is not full yet")


class TestMessages:
    @pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, MAX_MESSAGE])
    def test_arrive_whole_both_ways(self, ends: tuple[Owner, Owner], size: int) -> None:
        message = (BLOCK * 17)[:size]
        for sender, receiver in (ends, ends[::-1]):
            sender.link.send(message)
            assert receiver.wait_received(1) == [message]

    def test_of_one_lane_stay_in_order(self, ends: tuple[Owner, Owner]) -> None:
        client, server = ends
        for number in range(300):
            for lane in (A, B, C):
                client.link.send(lane + number.to_bytes(2, "big") + bytes(number * 10), lane)
            if number % 50 == 0:
                gevent.idle()
        received = server.wait_received(900)
        for lane in (A, B, C):
            assert [message[1:3] for message in received if message[:1] == lane] == [
                number.to_bytes(2, "big") for number in range(300)
            ]

    def test_without_a_lane_overtake_all_lanes(self, ends: tuple[Owner, Owner]) -> None:
        client, server = ends
        client.link.send(b"of a lane", A)
        client.link.send(b"urgent")
        assert server.wait_received(2) == [b"urgent", b"of a lane"]

    def test_lanes_take_turns(self, ends: tuple[Owner, Owner]) -> None:
        client, server = ends
        for _ in range(10):
            client.link.send(BLOCK, A)
        client.link.send(b"few", B)
        client.link.send(b"bytes", B)
        received = server.wait_received(12)
        assert (received[1], received[3]) == (b"few", b"bytes")

    def test_a_keystroke_waits_for_little_behind_bulk(self, facing: tuple[Owner, Peer]) -> None:
        owner, peer = facing
        taken = self.send_bulk(owner.link)
        owner.link.send(b"keystroke", B)
        ahead = 0
        while (message := peer.message()) != b"keystroke":
            ahead += len(message)
        assert ahead <= taken + len(BLOCK)  # one turn

    def test_an_urgent_one_waits_for_less(self, facing: tuple[Owner, Peer]) -> None:
        owner, peer = facing
        taken = self.send_bulk(owner.link)
        owner.link.send(b"urgent")
        ahead = 0
        while (message := peer.message()) != b"urgent":
            ahead += len(message)
        assert ahead <= taken

    def send_bulk(self, link: Link) -> int:
        """Queues much more than the kernel takes; how many bytes of it the kernel and the writer have taken."""
        for _ in range(200):
            link.send(BLOCK, A)
        gevent.idle()
        taken = 200 * len(BLOCK) - link.queued(A)
        assert taken < 150 * len(BLOCK)
        return taken

    def test_put_at_once_are_written_at_once(self, facing: tuple[Owner, Peer], monkeypatch: pytest.MonkeyPatch) -> None:
        owner, peer = facing
        assert peer.next_frame() is not None  # its first ping is out of the way
        written = record_writes(owner.link, monkeypatch)
        for number in range(100):
            owner.link.send(b"message %d" % number, number)
        assert [peer.message() for _ in range(100)] == [b"message %d" % number for number in range(100)]
        assert len(written) == 1

    def test_leave_while_the_writer_is_busy(self, facing: tuple[Owner, Peer]) -> None:
        owner, peer = facing
        count = fill(owner.link, A)
        gevent.spawn_later(0.01, owner.link.send, b"later", A)
        for _ in range(count):
            assert peer.message() == BLOCK
        assert peer.message() == b"later"

    def test_in_two_fragments_are_accepted(self, facing: tuple[Owner, Peer]) -> None:
        owner, peer = facing
        message = BLOCK[:3000]
        ping = bytes(RawFrame(PING, b"between", masked=peer.masked))
        first, rest = (
            bytes(RawFrame(opcode, part, fin=fin, masked=peer.masked))
            for opcode, part, fin in ((BINARY, message[:1024], False), (CONT, message[1024:], True))
        )
        peer.send(in_two(message, masked=peer.masked) + first + ping + rest + binary(b"whole", masked=peer.masked))
        assert owner.wait_received(3) == [message, message, b"whole"]

    def test_may_arrive_byte_by_byte(self, facing: tuple[Owner, Peer]) -> None:
        owner, peer = facing
        stream = binary(b"one", masked=peer.masked) + in_two(bytes(200), masked=peer.masked, first=150)
        for byte in stream:
            peer.send(bytes([byte]))
            gevent.sleep(0)
        assert owner.wait_received(2) == [b"one", bytes(200)]

    def test_may_have_come_behind_the_upgrade(self, pair: Pair) -> None:
        stream = binary(b"one", masked=True) + binary(b"two", masked=True)
        for owner, peer in face(pair, SERVER, leftover=stream[:-2]):
            peer.send(stream[-2:] + binary(b"three", masked=True))
            assert owner.wait_received(3) == [b"one", b"two", b"three"]

    def test_both_ways_at_once_do_not_deadlock(self, ends: tuple[Owner, Owner]) -> None:
        for end in ends:
            for number in range(128):
                end.link.send(BLOCK, number % 4)
        for end in ends:
            assert end.wait_received(128) == [BLOCK] * 128

    def test_unmasked_ones_pass_between_workers(self, pair: Pair) -> None:
        client, server = (Link(sock, side, masked=False) for sock, side in zip(pair, (CLIENT, SERVER), strict=True))
        for sender, receiver in ((client, Owner(server)), (server, Owner(client))):
            sender.send(BLOCK)
            assert receiver.wait_received(1) == [BLOCK]
        assert client.probe(PATIENCE) and server.probe(PATIENCE)
        client.abort("the test is over")
        server.abort("the test is over")


class TestPushback:
    def test_a_full_lane_is_reported_when_it_has_room(self, facing: tuple[Owner, Peer]) -> None:
        owner, peer = facing
        reports: list[tuple[object, int]] = []
        owner.link.on_drained = lambda lane: reports.append((lane, owner.link.queued(A)))
        count = fill(owner.link, A)
        assert owner.link.queued(A) >= LANE_SIZE
        assert not reports
        for _ in range(count):
            assert peer.message() == BLOCK
        assert [lane for lane, _ in reports] == [A]
        assert reports[0][1] <= LANE_SIZE // 2

    def test_a_lane_nobody_waits_for_is_not_reported(self, server: tuple[Owner, Peer]) -> None:
        owner, peer = server
        reports: list[object] = []
        owner.link.on_drained = reports.append
        for _ in range(10):
            owner.link.send(BLOCK, A)
        for _ in range(10):
            peer.message()
        assert not reports

    def test_what_a_report_sends_is_written(self, server: tuple[Owner, Peer]) -> None:
        owner, peer = server

        def send_more(lane: Lane) -> None:
            owner.link.send(b"more", lane)

        owner.link.on_drained = send_more
        count = fill(owner.link, A)
        for _ in range(count):
            assert peer.message() == BLOCK
        assert peer.message() == b"more"

    def test_a_discarded_lane_is_not_sent_and_has_room(self, server: tuple[Owner, Peer]) -> None:
        owner, peer = server
        drained = Event()
        owner.link.on_drained = lambda lane: drained.set()
        count = fill(owner.link, A)
        owner.link.send(b"kept", B)
        waiting = owner.link.queued(A) // len(BLOCK)
        owner.link.discard(A)
        assert owner.link.queued(A) == 0
        received = [peer.message() for _ in range(count - waiting + 1)]
        assert sorted(received, key=len) == [b"kept"] + [BLOCK] * (count - waiting)
        assert drained.wait(PATIENCE)
        assert owner.link.queued_bytes == 0

    def test_a_lane_discarded_before_anything_was_written_has_room(self, server: tuple[Owner, Peer]) -> None:
        owner, _ = server
        drained = Event()
        owner.link.on_drained = lambda lane: drained.set()
        while not owner.link.is_full(A):
            owner.link.send(BLOCK, A)
        owner.link.discard(A)
        assert drained.wait(PATIENCE)

    def test_a_report_that_fails_ends_the_link(self, server: tuple[Owner, Peer]) -> None:
        owner, peer = server

        def fail(lane: object) -> None:
            raise RuntimeError("the owner's fault")

        owner.link.on_drained = fail
        count = fill(owner.link, A)
        for _ in range(count - 1):
            if peer.next() is None:
                break
        assert owner.wait_end() == "its writer has failed"


class TestBadPeers:
    def refused(self, owner: Owner, peer: Peer, data: bytes, code: int) -> None:
        peer.send(data)
        assert peer.close_received()[0] == code
        peer.sock.close()
        assert "broke the WebSocket protocol" in owner.wait_end()
        assert owner.received == []

    def test_too_long_a_message_is_refused(self, facing: tuple[Owner, Peer]) -> None:
        owner, peer = facing
        self.refused(owner, peer, binary(bytes(MAX_MESSAGE + 1), masked=peer.masked)[:100], 1009)

    def test_fragments_of_too_long_a_message_are_refused(self, facing: tuple[Owner, Peer]) -> None:
        owner, peer = facing
        half = MAX_MESSAGE // 2 + 1
        self.refused(owner, peer, in_two(bytes(2 * half), masked=peer.masked, first=half), 1009)

    def test_a_length_of_2_to_the_63_is_refused(self, facing: tuple[Owner, Peer]) -> None:
        owner, peer = facing
        head = struct.pack("!BBQ", 0x82, 127 | peer.masked << 7, 1 << 63)
        self.refused(owner, peer, head + bytes(4 * peer.masked), 1009)

    def test_the_wrong_masking_is_refused(self, facing: tuple[Owner, Peer]) -> None:
        owner, peer = facing
        self.refused(owner, peer, binary(b"hello", masked=not peer.masked), 1002)

    def test_text_is_refused(self, facing: tuple[Owner, Peer]) -> None:
        owner, peer = facing
        text = bytes(RawFrame(TEXT, b"hello", masked=peer.masked))
        self.refused(owner, peer, text + binary(b"not taken any more", masked=peer.masked), 1003)

    def test_what_came_before_is_taken(self, server: tuple[Owner, Peer]) -> None:
        owner, peer = server
        peer.send(binary(b"good", masked=True) + b"\xff\x80" + bytes(4))
        peer.close_received()
        peer.sock.close()
        assert "broke the WebSocket protocol" in owner.wait_end()
        assert owner.received == [b"good"]

    @given(garbage=st.binary(min_size=1, max_size=300))
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_garbage_ends_in_order(self, all_pairs: Pairs, garbage: bytes) -> None:
        pair = all_pairs.make("memory")
        for owner, peer in face(pair, SERVER):
            peer.send(garbage)
            peer.sock.shutdown(socket.SHUT_WR)
            assert owner.wait_end()
        pair.close()

    def test_pings_without_end_are_not_answered_without_end(
        self, memory_pair: Pair, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(framing, "CONTROLS_PER_SECOND", 1e12)
        owner, peer = Owner(Link(memory_pair.server, SERVER)), Peer(memory_pair.client, CLIENT)
        pings = bytes(RawFrame(PING, bytes(125), masked=True)) * 500
        with pytest.raises(OSError):
            for _ in range(1000):
                peer.send(pings)
        assert "does not read the answers" in owner.wait_end()


class TestLife:
    def test_a_ping_is_answered(self, facing: tuple[Owner, Peer]) -> None:
        _, peer = facing
        peer.send(bytes(RawFrame(PING, b"are you there?", masked=peer.masked)))
        frame = peer.next()
        assert frame is not None and (frame.opcode, bytes(frame.data)) == (Opcode.PONG, b"are you there?")

    def test_a_ping_is_answered_while_bulk_waits(self, server: tuple[Owner, Peer]) -> None:
        owner, peer = server
        for _ in range(200):
            owner.link.send(BLOCK, A)
        peer.send(bytes(RawFrame(PING, b"still there?", masked=True)))
        gevent.idle()
        taken = 200 * len(BLOCK) - owner.link.queued(A)
        ahead = 0
        while (frame := peer.next()) is not None and frame.opcode is not Opcode.PONG:
            ahead += len(frame.data)
        assert frame is not None
        assert ahead <= taken < 150 * len(BLOCK)

    def test_pings_are_sent(self, memory_pair: Pair) -> None:
        for _, peer in face(memory_pair, SERVER, keepalive=Keepalive(interval=0.02, silence=PATIENCE)):
            for _ in range(5):
                frame = peer.next_frame()
                assert frame is not None and frame.opcode is Opcode.PING

    def test_the_round_trip_is_measured(self, ends: tuple[Owner, Owner]) -> None:
        for end in ends:
            assert end.link.probe(PATIENCE)
            poll(partial(_has_round_trip, end.link), PATIENCE, "a ping returns")
            assert 0.0 <= end.link.round_trip < PATIENCE  # type: ignore[operator]

    def test_a_silent_link_dies(self, pair: Pair, side: Side) -> None:
        for owner, peer in face(pair, side, keepalive=Keepalive(interval=0.05, silence=0.3)):
            assert owner.wait_end() == "silent for 0 s"
            while peer.next() is not None:
                pass
            assert peer.pings >= 2

    def test_silence_is_noticed_before_the_next_ping_is_due(self, memory_pair: Pair) -> None:
        clock = Clock()
        for owner, _ in face(memory_pair, SERVER, keepalive=Keepalive(interval=4.0, silence=8.0), clock=clock):
            clock.now += 8.0
            assert owner.wait_end(within=3.0) == "silent for 8 s"

    def test_less_than_the_silence_is_borne(self, memory_pair: Pair) -> None:
        clock = Clock()
        for owner, peer in face(memory_pair, SERVER, keepalive=Keepalive(interval=0.02, silence=8.0), clock=clock):
            clock.now += 7.9
            for _ in range(5):
                assert peer.next_frame() is not None
            assert not owner.link.closed
            clock.now += 0.1
            assert owner.wait_end() == "silent for 8 s"

    def test_who_does_not_listen_hears_no_silence(self, memory_pair: Pair) -> None:
        clock, keepalive = Clock(), Keepalive(interval=0.02, silence=8.0)
        link = Link(memory_pair.server, SERVER, keepalive=keepalive, clock=clock)
        peer = Peer(memory_pair.client, CLIENT)
        peer.send(binary(b"here I am", masked=True))
        clock.now += 100.0  # its owner does something else
        for _ in range(10):
            assert peer.next_frame() is not None
        owner = Owner(link)
        assert owner.wait_received(1) == [b"here I am"]
        assert not link.closed
        clock.now += 8.0
        assert owner.wait_end() == "silent for 8 s"

    def test_any_byte_is_a_sign_of_life(self, memory_pair: Pair) -> None:
        keepalive = Keepalive(interval=0.25, silence=1.0)
        for owner, peer in face(memory_pair, SERVER, keepalive=keepalive):
            for byte in binary(bytes(30), masked=True)[:25]:
                peer.send(bytes([byte]))
                gevent.sleep(0.08)
            assert not owner.link.closed
            assert owner.wait_end() == "silent for 1 s"

    def test_a_probe_finds_the_living(self, ends: tuple[Owner, Owner]) -> None:
        assert all(end.link.probe(PATIENCE) for end in ends)
        assert [gevent.spawn(ends[0].link.probe, PATIENCE).get() for _ in range(3)] == [True] * 3

    def test_a_probe_accepts_any_byte(self, facing: tuple[Owner, Peer]) -> None:
        owner, peer = facing
        probe = gevent.spawn(owner.link.probe, PATIENCE)
        gevent.idle()
        assert not probe.ready()
        peer.send(binary(b"x", masked=peer.masked)[:1])
        assert probe.get(timeout=PATIENCE)

    def test_a_probe_finds_the_silent(self, facing: tuple[Owner, Peer]) -> None:
        owner, peer = facing
        peer.send(binary(b"before the question", masked=peer.masked))
        owner.wait_received(1)
        assert not owner.link.probe(0.1)
        assert not owner.link.closed

    def test_a_probe_does_not_wait_for_the_dead(self, server: tuple[Owner, Peer]) -> None:
        owner, _ = server
        probe = gevent.spawn(owner.link.probe, 10 * PATIENCE)
        gevent.idle()
        owner.link.abort("gone")
        assert probe.get(timeout=PATIENCE) is False
        assert owner.link.probe(10 * PATIENCE) is False


class TestEnds:
    @pytest.mark.parametrize("code, reason", [(1000, "done"), (1001, "going away"), (4000, "ü")])
    def test_the_reason_reaches_the_other_side(self, ends: tuple[Owner, Owner], code: int, reason: str) -> None:
        for closing, other in (ends, ends[::-1]):
            closing.link.close(code, reason)
            assert other.wait_end() == reason
            assert closing.wait_end() == reason

    def test_the_code_is_sent(self, facing: tuple[Owner, Peer]) -> None:
        owner, peer = facing
        owner.link.close(1008, "refused")
        assert peer.close_received() == (1008, "refused")

    def test_a_close_is_answered(self, facing: tuple[Owner, Peer]) -> None:
        owner, peer = facing
        peer.send(close(4321, "enough", masked=peer.masked))
        assert peer.close_received() == (4321, "enough")
        assert peer.next() is None  # and the connection is closed without a wait for more
        peer.sock.close()
        assert owner.wait_end() == "enough"

    def test_without_a_reason_it_says_who_closed(self, server: tuple[Owner, Peer]) -> None:
        owner, peer = server
        peer.send(bytes(RawFrame(CLOSE, b"", masked=True)))
        peer.close_received()
        peer.sock.close()
        assert owner.wait_end() == "closed by the other side"

    def test_closing_sends_what_is_queued_first(
        self, ends: tuple[Owner, Owner], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(link_module, "CLOSE_TIMEOUT", PATIENCE)
        client, server = ends
        for number in range(100):
            client.link.send(BLOCK, number % 3)
        client.link.send(b"urgent")
        client.link.close(1000, "done")
        client.link.send(b"too late")
        assert server.wait_end() == "done"
        assert sorted(set(server.received)) == sorted({BLOCK, b"urgent"})
        assert len(server.received) == 101

    def test_closing_does_not_wait_for_ever(self, facing: tuple[Owner, Peer], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(link_module, "CLOSE_TIMEOUT", 0.1)
        owner, _ = facing
        fill(owner.link, A)
        owner.link.close(1000, "in vain")
        assert owner.link.wait_closed(PATIENCE)
        assert owner.wait_end() == "in vain"

    def test_a_peer_that_does_not_answer_a_close_is_left(
        self, facing: tuple[Owner, Peer], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(link_module, "CLOSE_TIMEOUT", 0.1)
        owner, peer = facing
        owner.link.close(1000, "bye")
        assert peer.close_received() == (1000, "bye")
        assert owner.wait_end() == "bye"

    def test_what_arrives_before_the_answer_to_a_close_is_taken(self, facing: tuple[Owner, Peer]) -> None:
        owner, peer = facing
        owner.link.close(1000, "bye")
        assert peer.close_received() == (1000, "bye")
        if type(peer.sock) is socket.socket:  # TLS refuses to send to a side that has ended
            peer.send(binary(b"was on its way", masked=peer.masked) + close(1000, "bye", masked=peer.masked))
            assert owner.wait_received(1) == [b"was on its way"]

    def test_aborting_wakes_a_reader_and_a_writer(self, facing: tuple[Owner, Peer]) -> None:
        owner, _ = facing
        fill(owner.link, A)
        owner.link.abort("because")
        assert owner.wait_end() == "because"
        assert owner.link.closed and owner.link.queued_bytes == 0

    def test_the_other_side_notices_an_abort(self, ends: tuple[Owner, Owner]) -> None:
        ends[0].link.abort("because")
        assert ends[1].wait_end()
        assert ends[1].link.wait_closed(PATIENCE)

    def test_an_end_in_the_middle_of_a_message_is_an_end(self, facing: tuple[Owner, Peer]) -> None:
        owner, peer = facing
        peer.send(binary(bytes(100), masked=peer.masked)[:50])
        peer.sock.close()
        assert owner.wait_end()
        assert owner.received == []

    def test_a_reset_is_an_end(self, all_pairs: Pairs) -> None:
        pair = all_pairs.make("tcp")
        for owner, peer in face(pair, SERVER):
            peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peer.sock.close()
            assert owner.wait_end() == "the connection was lost (Connection reset by peer)"

    def test_sending_and_closing_afterwards_does_nothing(self, server: tuple[Owner, Peer]) -> None:
        owner, _ = server
        owner.link.abort("first")
        owner.link.abort("second")
        owner.link.send(b"too late", A)
        owner.link.close(1000, "third")
        assert owner.link.queued_bytes == 0
        assert owner.link.why == "first"
        assert owner.wait_end() == "first"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["abort", "close", "vanish"])
def test_nothing_is_left_behind(all_pairs: Pairs, kind: str, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_module, "CLOSE_TIMEOUT", 0.05)

    def round() -> weakref.ref[Link]:
        pair = all_pairs.make(kind)
        client, server = client_and_server(*pair)
        client.link.send(BLOCK, A)
        server.wait_received(1)
        if how == "vanish":
            client.link.abort("vanished")
        else:
            getattr(server.link, how)(reason="done") if how == "close" else server.link.abort("done")
        client.wait_end()
        server.wait_end()
        return weakref.ref(server.link)

    def left() -> tuple[int, int]:
        gc.collect()
        greenlets = [each for each in gc.get_objects() if isinstance(each, gevent.Greenlet) and not each.dead]
        return len(os.listdir("/proc/self/fd")), len(greenlets)

    round()
    before = left()
    links = [round() for _ in range(5)]
    poll(lambda: left() <= before, PATIENCE, f"descriptors and greenlets are gone: {before} before, {left()} now", 0.1)
    assert [link() for link in links] == [None] * 5


def test_a_link_is_told_in_few_words(server: tuple[Owner, Peer]) -> None:
    owner, _ = server
    assert repr(owner.link) == "<Link server open>"
    owner.link.abort("why not")
    assert repr(owner.link) == "<Link server closed>"


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def record_writes(link: Link, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of all writes of a link from now on, each as far as it succeeded."""
    written: list[int] = []
    stream = link._stream
    send_now, sendall = stream.send_now, stream.sendall

    def recorded_send_now(data: bytes) -> int:
        taken = send_now(data)
        written.extend([taken] if taken else [])
        return taken

    def recorded_sendall(data: bytes) -> None:
        sendall(data)
        written.append(len(data))

    monkeypatch.setattr(stream, "send_now", recorded_send_now)
    monkeypatch.setattr(stream, "sendall", recorded_sendall)
    return written
