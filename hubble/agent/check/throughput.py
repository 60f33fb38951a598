"""Measure the throughput of an agent to itself through the proxy."""

from __future__ import annotations

import time
from contextlib import suppress

import gevent
from gevent.server import StreamServer

from hubble.agent.rules import LOOPBACK
from hubble.transport.addresses import Socket

SECONDS = 2.0
"""The duration of the measurement."""
PATIENCE = 15.0
BLOCK = bytes(64 * 1024)


class Sink:
    """A service on loopback that counts received bytes."""

    def __init__(self) -> None:
        self._received = 0
        self._server = StreamServer((LOOPBACK, 0), self._count)

    def __enter__(self) -> Sink:
        self._server.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.stop(timeout=0)

    @property
    def port(self) -> int:
        """The port on which it listens."""
        return int(self._server.server_port)

    def measure(self, sock: Socket) -> float:
        """Send to `sock` and close it. Return the received bytes per second. Raises OSError if none arrive."""
        with sock:
            sock.settimeout(PATIENCE)
            self._begin(sock)
            before, started = self._received, time.monotonic()
            with gevent.Timeout(SECONDS, False):
                while True:
                    sock.sendall(BLOCK)
            return (self._received - before) / (time.monotonic() - started)

    def _begin(self, sock: Socket) -> None:
        """Wait until the service answers one byte: then the session is open."""
        sock.sendall(b"?")
        if not sock.recv(1):
            raise ConnectionError("the session was closed")

    def _count(self, sock: Socket, _: object) -> None:
        with sock, suppress(OSError):  # the session has ended
            sock.sendall(sock.recv(1))
            while data := sock.recv(1 << 18):
                self._received += len(data)
