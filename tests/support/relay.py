"""A TCP relay that stands between two programs and can be cut, frozen, closed to newcomers, slowed down, and healed."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from typing import Literal

import gevent
from gevent.event import Event
from gevent.pool import Group
from gevent.queue import Queue

from tests.support.waiting import Changes

Address = tuple[str, int] | str  # a host and port, or the path of a Unix socket
CHUNK = 256 * 1024
CHUNKS_ON_THE_WAY = 1024
SHORT_QUEUE = 32 * 1024  # what the kernel may hold where the rate is limited: the delay is to be the sender's own
BURST = 0.02  # seconds by which a limited rate may be behind and still catch up


def connect(address: Address, timeout: float | None = None) -> socket.socket:
    if isinstance(address, tuple):
        return socket.create_connection(address, timeout)
    unix = socket.socket(socket.AF_UNIX)
    unix.connect(address)
    return unix


def reset(sock: socket.socket) -> None:
    """Closes with a TCP reset."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


class Relay:
    """Listens on `port` of loopback and carries each connection to `target`.

    `delay`: seconds that each byte takes in each direction. `rate`: bytes per second at most in each direction of
    each connection; without a delay the relay's own queue is then short. `carried`: bytes delivered so far.
    """

    def __init__(self, target: Address, *, delay: float = 0.0, rate: float | None = None) -> None:
        self.target = target
        self.delay = delay
        self.rate = rate
        self.carried = 0
        self.progress = Changes()
        self.moving = Event()
        self.moving.set()
        self._refusing = False
        self._pairs: set[_Pair] = set()
        self._abandoned: set[_Pair] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        if rate and not delay:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SHORT_QUEUE)
        self.port: int = self._listener.getsockname()[1]
        self._acceptor = gevent.spawn(self._accept)

    @property
    def connections(self) -> int:
        return len(self._pairs)

    def cut(self, how: Literal["reset", "end"] = "reset") -> int:
        """Ends every connection on both sides, by a reset or by a FIN; returns how many. New ones are carried."""
        pairs, self._pairs = self._pairs, set()
        for pair in pairs:
            pair.cut(how)
        return len(pairs)

    def freeze(self) -> None:
        """Moves nothing until `heal`, though sockets stay open and newcomers are accepted: a dead cable."""
        self.moving.clear()

    def abandon(self) -> None:
        """Never moves another byte of the present connections, and tells neither side. New ones are carried."""
        for pair in self._pairs:
            pair.stop()
        self._abandoned |= self._pairs
        self._pairs = set()

    def vanish(self) -> None:
        """Resets every connection on the side that made it, and tells the other side nothing. New ones are carried."""
        pairs = list(self._pairs)
        self.abandon()
        for pair in pairs:
            reset(pair.near)

    def refuse(self) -> None:
        """Resets newcomers until `heal`."""
        self._refusing = True

    def heal(self) -> None:
        self._refusing = False
        self.moving.set()

    def wait_carried(self, total: int, within: float) -> None:
        self.progress.wait_until(lambda: self.carried >= total, within, f"the relay carries {total} bytes")

    def wait_connections(self, count: int, within: float = 10.0) -> None:
        self.progress.wait_until(lambda: self.connections >= count, within, f"the relay has {count} connections")

    def close(self) -> None:
        self._acceptor.kill()
        self._listener.close()
        for pair in self._pairs | self._abandoned:
            pair.cut("reset")

    def _accept(self) -> None:
        while True:
            near, _address = self._listener.accept()
            if self._refusing:
                reset(near)
            else:
                gevent.spawn(self._carry, near)

    def _carry(self, near: socket.socket) -> None:
        try:
            far = connect(self.target, timeout=10)
        except OSError:
            reset(near)
            return
        far.settimeout(None)
        pair = _Pair(self, near, far)
        self._pairs.add(pair)
        self.progress.happened()
        pair.run()
        self._pairs.discard(pair)
        self.progress.happened()


class _Pair:
    """One connection through the relay: a socket on each side, and the greenlets that carry between them."""

    def __init__(self, relay: Relay, near: socket.socket, far: socket.socket) -> None:
        self._relay = relay
        self.near = near
        self._sockets = (near, far)
        self._greenlets = Group()
        self._stopped = False
        for sock in self._sockets:
            if sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def run(self) -> None:
        """Carries until both directions have ended."""
        near, far = self._sockets
        pump = self._pump if self._relay.delay or self._relay.rate else self._copy
        self._greenlets.spawn(pump, near, far)
        self._greenlets.spawn(pump, far, near)
        self._greenlets.join()
        if not self._stopped:
            near.close()
            far.close()

    def stop(self) -> None:
        """Carries no more, and leaves both sockets open."""
        self._stopped = True
        self._greenlets.kill(block=False)

    def cut(self, how: Literal["reset", "end"]) -> None:
        self.stop()
        for sock in self._sockets:
            if how == "reset":
                reset(sock)
            else:
                gevent.spawn(end_quietly, sock)

    def _copy(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            data = b"more"
            while data:
                data = source.recv(CHUNK)
                self._deliver(sink, data)
        except OSError:
            self._broken()

    def _deliver(self, sink: socket.socket, data: bytes) -> None:
        """Hands `data`, or the end of the stream if it is empty, to `sink`."""
        self._relay.moving.wait()
        if not data:
            sink.shutdown(socket.SHUT_WR)
            return
        sink.sendall(data)
        self._relay.carried += len(data)
        self._relay.progress.happened()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        """Like `_copy`, with the relay's delay and rate."""
        on_the_way: Queue[tuple[float, bytes]] = Queue(CHUNKS_ON_THE_WAY)
        self._greenlets.spawn(self._arrive, on_the_way, sink)
        departed = 0.0
        data = b"more"
        try:
            while data:
                data = source.recv(CHUNK // 4)
                departed = max(departed, time.monotonic() - BURST)
                if self._relay.rate:
                    departed += len(data) / self._relay.rate
                    sleep_until(departed)
                on_the_way.put((max(departed, time.monotonic()) + self._relay.delay, data))
        except OSError:
            self._broken()

    def _arrive(self, on_the_way: Queue[tuple[float, bytes]], sink: socket.socket) -> None:
        data = b"more"
        try:
            while data:
                due, data = on_the_way.get()
                sleep_until(due)
                self._deliver(sink, data)
        except OSError:
            self._broken()

    def _broken(self) -> None:
        """One side is gone abnormally: so is the other, once the relay moves."""
        self._relay.moving.wait()
        if not self._stopped:
            self.cut("reset")


def sleep_until(moment: float) -> None:
    if (pause := moment - time.monotonic()) > 0:
        gevent.sleep(pause)


def end_quietly(sock: socket.socket) -> None:
    """Sends a FIN and reads on until the peer closes, since closing with unread bytes would send a reset instead."""
    with contextlib.suppress(OSError), gevent.Timeout(10, False):
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(CHUNK):
            pass
    sock.close()
