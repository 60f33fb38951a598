"""A link that the hub reads (`Link.serve`): pauses, slices, and what interrupts them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import gevent
import pytest
from websockets.protocol import CLIENT, SERVER

from hubble.base.errors import LinkClosed
from hubble.transport import turn as turn_module
from hubble.transport.link import Keepalive, Link
from hubble.transport.reader import DRAIN_INTERVAL
from hubble.transport.stream import SocketStream
from hubble.transport.turn import at_end, turn
from hubble.transport.writer import Writer
from tests.support.frames import BINARY, CONT, TEXT, RawFrame, binary, close
from tests.support.links import Peer
from tests.support.pairs import PATIENCE, Pair
from tests.support.waiting import Changes, poll


class Clock:
    """Time that passes when it is told to, and with each look at it."""

    def __init__(self, step: float = 0.0) -> None:
        self.now = 1000.0
        self.step = step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


class Served:
    """A server's link, its peer, and the messages that the hub has handed over."""

    def __init__(self, pair: Pair, clock: Clock, keepalive: Keepalive | None = None) -> None:
        self.link = Link(pair.server, SERVER, clock=clock, keepalive=keepalive)
        self.peer = Peer(pair.client, CLIENT)
        self.received: list[bytes] = []
        self.on_message: Callable[[], None] = lambda: None
        self._changes = Changes()
        self._greenlet: gevent.Greenlet | None = None

    def start(self) -> None:
        self._greenlet = gevent.spawn(self._serve)

    def wait_received(self, count: int) -> None:
        self._changes.wait_until(lambda: len(self.received) >= count, PATIENCE, f"{count} messages arrive")

    def wait_end(self) -> None:
        assert self._greenlet is not None
        self._greenlet.get(timeout=PATIENCE)

    def _serve(self) -> None:
        with pytest.raises(LinkClosed):
            self.link.serve(self._handle)

    def _handle(self, message: bytes) -> None:
        self.received.append(message)
        self.on_message()
        self._changes.happened()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def served(memory_pair: Pair, clock: Clock) -> Iterator[Served]:
    served = Served(memory_pair, clock, Keepalive(interval=0.02, silence=8.0))
    yield served
    served.link.abort("the test is over")


def test_a_pause_does_not_count_as_silence(served: Served, clock: Clock) -> None:
    """The timer that checks the silence may fire between the end of a pause and the next read."""
    served.start()
    served.peer.send(binary(b"before", masked=True))
    served.wait_received(1)
    served.link.pause()
    served.peer.send(binary(b"meanwhile", masked=True))
    clock.now += 100.0
    served.link.resume()
    served.link._beat()
    served.wait_received(2)
    assert not served.link.closed


def test_a_link_paused_before_it_is_served_does_not_keep_the_hub_busy(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.link.pause()
    served.peer.send(binary(b"early", masked=True))
    turns = 0
    work = served.link._reader._work

    def count() -> None:
        nonlocal turns
        turns += 1
        work()

    monkeypatch.setattr(served.link._reader, "_work", count)
    served.start()
    for _ in range(20):
        gevent.idle()
    assert turns <= 1 and not served.received
    served.link.resume()
    served.wait_received(1)


def test_others_have_their_turn_between_frames_without_a_message(memory_pair: Pair) -> None:
    """Fragments of 256 bytes have no budget, and `websockets` takes some microseconds for each."""
    served = Served(memory_pair, Clock(step=0.01))
    begun = bytes(RawFrame(BINARY, bytes(300), fin=False, masked=True))
    served.peer.send(begun + bytes(RawFrame(CONT, bytes(256), fin=False, masked=True)) * 300)
    served.peer.send(bytes(RawFrame(CONT, masked=True)))
    turns = 0

    def count_turns() -> None:
        nonlocal turns
        while not served.received:
            gevent.idle(priority=1)
            turns += 1

    served.start()
    counting = gevent.spawn(count_turns)
    served.wait_received(1)
    counting.join(PATIENCE)
    assert turns >= 4
    served.link.abort("the test is over")


def test_an_interrupt_at_the_end_of_a_turn_does_not_stop_later_writes() -> None:
    done: list[str] = []

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        turn(lambda: at_end(interrupt))
    turn(lambda: at_end(lambda: done.append("later")))
    assert done == ["later"] and turn_module._depth == 0


def test_a_writer_in_a_greenlet_reports_any_error(memory_pair: Pair) -> None:
    """Otherwise the link would stay open but never write again."""
    failures: list[Exception] = []
    data = iter([b"first"])

    def more() -> bytes:
        for piece in data:
            return piece
        raise MemoryError

    stream = SocketStream(memory_pair.server)
    writer = Writer(stream, more, sent=lambda count: None, resumed=lambda: None, failed=failures.append)
    writer.write()
    assert memory_pair.client.recv(100) == b"first"
    poll(lambda: failures, PATIENCE, "the writer reports its failure")
    assert isinstance(failures[0], MemoryError)
    stream.close()


@pytest.mark.parametrize("paused", [False, True], ids=["in slices", "paused"])
def test_what_arrived_before_the_end_is_passed_on(memory_pair: Pair, paused: bool) -> None:
    """The answer to the Close fails, because the peer is gone, before all earlier messages have had their turn."""
    served = Served(memory_pair, Clock(step=0.01))
    assert served.peer.next_frame() is not None  # the link's first ping has been written
    if paused:
        served.on_message = served.link.pause
    messages = [bytes([number]) for number in range(50)]
    served.peer.send(b"".join(binary(message, masked=True) for message in messages) + close(1000, "bye", masked=True))
    served.peer.sock.close()
    served.start()
    served.wait_end()
    assert served.received == messages


def test_frames_after_a_breach_are_discarded_slowly(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    served.start()
    served.peer.send(bytes(RawFrame(TEXT, masked=True)))
    assert served.peer.close_received()[0] == 1003
    reads = 0
    read = served.link._reader._read_now

    def count() -> bool:
        nonlocal reads
        reads += 1
        return read()

    monkeypatch.setattr(served.link._reader, "_read_now", count)
    started = time.monotonic()
    for _ in range(100):
        served.peer.send(binary(b"late", masked=True))
        gevent.sleep(0.001)
    assert 1 <= reads <= (time.monotonic() - started) / DRAIN_INTERVAL + 2
    served.peer.sock.close()
    served.wait_end()
    assert served.received == []
