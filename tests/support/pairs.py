"""Two connected sockets of each kind that a link may run over.

"memory" is a socketpair: it has no name and no handshake, and its bytes never leave the kernel's memory. A double in
Python would not do, since a Stream reads and writes the descriptor itself, which is the very thing to test.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import gevent
from gevent import socket

from hubble.transport.addresses import Socket
from hubble.transport.serve.servertls import server_context
from hubble.transport.tls import TLSOptions, client_context, shake_hands, wrap
from tests.support.certificates import Authority

KINDS = ("memory", "tcp", "unix", "tls")
PATIENCE = 20.0  # seconds that a test waits for what must happen, on a busy machine


class Pair(NamedTuple):
    """What the client's end sends, the server's receives, and the other way round."""

    client: Socket
    server: Socket

    def close(self) -> None:
        self.client.close()
        self.server.close()


class Pairs:
    """Makes pairs; `directory` is for sockets and certificates. Closes them all at the end."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._made: list[Pair] = []
        self._ca: Authority | None = None

    def make(self, kind: str) -> Pair:
        pair = getattr(self, f"_{kind}")()
        self._made.append(pair)
        return pair

    def close(self) -> None:
        for pair in self._made:
            pair.close()

    def _memory(self) -> Pair:
        return Pair(*socket.socketpair())

    def _tcp(self) -> Pair:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            client = socket.create_connection(listener.getsockname())
            return Pair(client, listener.accept()[0])

    def _unix(self) -> Pair:
        path = self._directory / f"{len(self._made)}.sock"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()
            client = socket.socket(socket.AF_UNIX)
            client.connect(str(path))
            return Pair(client, listener.accept()[0])

    def _tls(self) -> Pair:
        if self._ca is None:
            self._ca = Authority(self._directory)
            identity = self._ca.issue("localhost")
            self._server_context = server_context(identity.cert, identity.key)
            self._client_context = client_context(TLSOptions(ca_file=self._ca.file))
        raw = self._tcp()
        client = gevent.spawn(wrap, raw.client, "localhost", self._client_context)
        server = shake_hands(self._server_context, raw.server, server_side=True)
        return Pair(client.get(timeout=PATIENCE), server)
