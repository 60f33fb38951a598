"""How many bytes a second an agent passes to itself through the proxy."""

from __future__ import annotations

import time
from contextlib import suppress

import gevent
from gevent.server import StreamServer

from hubble.agent.rules import LOOPBACK
from hubble.transport.addresses import Socket

SECONDS = 2.0
"""How long is measured."""
PATIENCE = 15.0
BLOCK = bytes(64 * 1024)


class Sink:
    """A service on loopback that counts what is sent to it."""

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
        """Where it listens."""
        return int(self._server.server_port)

    def measure(self, sock: Socket) -> float:
        """Return how many bytes a second arrive of those sent to `sock`, and close it. Raises OSError if none do."""
        with sock:
            sock.settimeout(PATIENCE)
            self._begin(sock)
            before, started = self._received, time.monotonic()
            with gevent.Timeout(SECONDS, False):
                while True:
                    sock.sendall(BLOCK)
            return (self._received - before) / (time.monotonic() - started)

    def _begin(self, sock: Socket) -> None:
        """Have one byte answered: the session is there."""
        sock.sendall(b"?")
        if not sock.recv(1):
            raise ConnectionError("the session was closed")

    def _count(self, sock: Socket, _: object) -> None:
        with sock, suppress(OSError):  # the session's end
            sock.sendall(sock.recv(1))
            while data := sock.recv(1 << 18):
                self._received += len(data)
