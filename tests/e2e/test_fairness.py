"""A stalled or greedy session hurts only itself; a long path does not slow a stream down.

The bounds are those of a machine that does other things as well. The precise ratios are in `benchmarks/`.
"""

from __future__ import annotations

import socket
import statistics
import time
from dataclasses import dataclass

import gevent
import pytest
from gevent.event import Event

from tests.support.bulk import BulkSender, BulkSink
from tests.support.scale import KIB, MB, scaled
from tests.support.services import Service, echo, sink
from tests.support.sockets import connect, echoed
from tests.support.stage import Stage
from tests.support.traffic import Progress

SESSIONS = 50
ROUND_TRIP = 0.1  # seconds
RATE = 25e6  # bytes per second
SLOW_RATE = 5e6
LARGEST_CREDIT = 16 * 1024 * KIB


@dataclass
class Measured:
    """Round trips of many sessions over one window of time."""

    seconds: float
    round_trips: list[float]

    @property
    def rate(self) -> float:
        return len(self.round_trips) / self.seconds

    @property
    def median(self) -> float:
        return statistics.median(self.round_trips)

    @property
    def p99(self) -> float:
        return statistics.quantiles(self.round_trips, n=100)[-1]

    def __str__(self) -> str:
        return f"{self.rate:.0f}/s, median {self.median * 1000:.1f} ms, p99 {self.p99 * 1000:.1f} ms"


def ping_pong(sock: socket.socket, payload: bytes, until: float, round_trips: list[float]) -> None:
    while (started := time.monotonic()) < until:
        assert echoed(sock, payload) == payload
        round_trips.append(time.monotonic() - started)


def measure(sockets: list[socket.socket], payload: bytes, seconds: float) -> Measured:
    """What echoes of `payload` on all `sockets` at once take."""
    round_trips: list[float] = []
    until = time.monotonic() + seconds
    players = [gevent.spawn(ping_pong, sock, payload, until, round_trips) for sock in sockets]
    gevent.joinall(players, raise_error=True)
    return Measured(seconds, round_trips)


def fill(sock: socket.socket) -> int:
    """Sends until nothing more is taken for a second; returns how much was."""
    sent = 0
    sock.settimeout(1)
    chunk = bytes(64 * KIB)
    while True:
        try:
            sent += sock.send(chunk)
        except TimeoutError:
            return sent


@pytest.mark.slow
@pytest.mark.timeout(150)
def test_a_stalled_reader_hurts_only_itself(stage: Stage) -> None:
    never = Event()

    def stalled(sock: socket.socket) -> None:
        never.wait()

    tunnel = stage.tunnel(stage.add(Service(echo)).port, stage.add(Service(stalled)).port)
    payload = bytes(8 * KIB)
    sockets = [connect(tunnel.port(0)) for _ in range(SESSIONS)]
    measure(sockets, payload, 2)  # warms up
    before = measure(sockets, payload, scaled(7, 3))
    memory = {process.name: process.memory() for process in tunnel.processes}
    with connect(tunnel.port(1)) as stuck:
        taken = fill(stuck)
        during = measure(sockets, payload, scaled(30, 5))
        grown = {process.name: process.memory() - memory[process.name] for process in tunnel.processes}
    after = measure(sockets, payload, scaled(7, 3))
    for sock in sockets:
        sock.close()
    usual_rate, usual_p99 = (before.rate + after.rate) / 2, max(before.p99, after.p99)
    report = (
        f"{before.rate=:.0f} {during.rate=:.0f} {after.rate=:.0f} {before.p99=} {during.p99=} {after.p99=} {grown=}"
    )
    print(report, f"{taken=}")
    assert during.rate > usual_rate / 1.5, report
    assert during.p99 < usual_p99 * 2, report
    assert all(growth < LARGEST_CREDIT + 4 * MB for growth in grown.values()), report


@pytest.mark.slow
def test_a_ping_pong_beside_a_bulk_stream_on_the_same_link(stage: Stage) -> None:
    """The bulk is written and read by processes of their own: a busy test would measure itself."""
    bulk_sink = stage.add(BulkSink())
    tunnel = stage.tunnel(stage.add(Service(echo)).port, bulk_sink.port)
    with connect(tunnel.port(0)) as sock:
        measure([sock], b"x", 1)  # warms up
        alone = measure([sock], b"x", scaled(5, 2))
        sender = stage.add(BulkSender(tunnel.port(1)))
        measure([sock], b"x", 2)  # the bulk stream's credit grows
        beside = measure([sock], b"x", scaled(10, 4))
        rate = sender.stop()
    report = f"alone {alone}, beside {beside}, bulk {rate / MB:.0f} MB/s"
    print(report)
    assert rate > 20 * MB, report
    assert beside.median < alone.median + 0.05, report
    assert beside.p99 < 2 * alone.p99 + 0.12, report


@pytest.mark.slow
def test_a_keystroke_beside_bulk_streams_on_a_slow_link(stage: Stage) -> None:
    """Sessions take turns: a keystroke waits for what is in the kernel, and not for what eight others have queued."""
    tunnel = stage.tunnel(stage.add(Service(echo)).port, stage.add(Service(sink)).port, relays=True, rate=SLOW_RATE)
    with connect(tunnel.port(0)) as sock:
        uploads = [gevent.spawn(upload_for_ever, tunnel.port(1)) for _ in range(8)]
        measure([sock], b"k", 1)  # the queues fill
        carried = tunnel.relays[0].carried
        beside = measure([sock], b"k", scaled(8, 4))
        rate = (tunnel.relays[0].carried - carried) / beside.seconds
        gevent.killall(uploads)
    report = f"{beside}, bulk {rate / MB:.1f} MB/s"
    print(report)
    assert rate > 0.8 * SLOW_RATE, report
    assert beside.p99 < 0.5, report


def upload_for_ever(port: int) -> None:
    with connect(port) as sock:
        while True:
            sock.sendall(bytes(64 * KIB))


def upload_rate(port: int, arrived: Progress, seconds: float) -> float:
    """Bytes per second that arrive at the service of one stream, from its beginning on."""

    before = arrived.total
    uploading = gevent.spawn(upload_for_ever, port)
    gevent.sleep(seconds)  # the length of the measurement, not a wait for anything
    rate = (arrived.total - before) / seconds
    uploading.kill()
    return rate


@pytest.mark.slow
def test_a_long_path_does_not_slow_one_stream_down(stage: Stage) -> None:
    """Beside a plain TCP connection over the same kind of path: both through a relay with its delay and rate."""
    arrived = Progress()

    def count(sock: socket.socket) -> None:
        while data := sock.recv(256 * KIB):
            arrived.add(len(data))

    service = stage.add(Service(count))
    tunnel = stage.tunnel(service.port, relays=True, delay=ROUND_TRIP / 2, rate=RATE)
    plain = stage.relay(("127.0.0.1", service.port), delay=ROUND_TRIP / 2, rate=RATE)
    seconds = scaled(12, 8)
    through_plain = upload_rate(plain.port, arrived, seconds)
    stage.close(plain)
    through_tunnel = upload_rate(tunnel.port(), arrived, seconds)
    report = f"plain {through_plain / MB:.1f} MB/s, tunnel {through_tunnel / MB:.1f} MB/s"
    print(report)
    assert through_tunnel > 0.7 * through_plain, report


def test_many_small_writes_are_not_held_back(stage: Stage) -> None:
    """Neither Nagle's algorithm nor batching delays a keystroke: 200 echoes one after the other."""
    tunnel = stage.tunnel(stage.add(Service(echo)).port)
    with connect(tunnel.port()) as sock:
        started = time.monotonic()
        for _ in range(200):
            assert echoed(sock, b"k") == b"k"
        assert time.monotonic() - started < 4


def test_a_stalled_session_is_bounded_and_ends_well(stage: Stage) -> None:
    """A writer is held back by credit, not buffered without end; and what it wrote arrives once the reader reads."""
    start = Event()

    def late(sock: socket.socket) -> None:
        start.wait()
        total = 0
        while data := sock.recv(256 * KIB):
            total += len(data)
        sock.sendall(str(total).encode())

    tunnel = stage.tunnel(stage.add(Service(late)).port)
    with connect(tunnel.port()) as sock:
        taken = fill(sock)
        assert taken < 40 * MB
        start.set()
        sock.settimeout(20)
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(100) == str(taken).encode()
