"""TLS through a connection that is itself TLS: a `wss://` target through an `https://` proxy."""

from __future__ import annotations

import ssl
from typing import Any

from gevent.lock import BoundedSemaphore
from urllib3.util.ssltransport import SSLTransport

from hubble.transport.addresses import Socket


class TLSInTLS(SSLTransport):
    """A socket to read and write from two greenlets at once; what it lacks comes from the outer socket."""

    def __init__(self, sock: ssl.SSLSocket, context: ssl.SSLContext, server_name: str) -> None:
        super().__init__(_OneSender(sock), context, server_name)  # type: ignore[arg-type]

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        return super().recv(buflen, flags) or b""  # type: ignore[return-value]  # the base says 0 at the end

    def __getattr__(self, name: str) -> Any:
        return getattr(self.socket, name)


class _OneSender:
    """Sends one piece after the other: reading may send as well (a key update), between a writer's records."""

    def __init__(self, sock: Socket) -> None:
        self._sock = sock
        self._sending = BoundedSemaphore(1)

    def sendall(self, data: bytes) -> None:
        if data:
            with self._sending:
                self._sock.sendall(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)
