"""Servers for dialling tests: one that upgrades to WebSocket, and one that says what the test tells it to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gevent.server import StreamServer
from websockets.http11 import Request
from websockets.protocol import CONNECTING
from websockets.server import ServerProtocol

from hubble.transport.addresses import Socket
from hubble.transport.serve.servertls import ServerTLS

HELLO = b"\x81\x05hello"
"""The text frame that the upgrading server sends right behind its answer."""


class UpgradingServer:
    """Accepts every upgrade, remembers the requests, greets, and then sends back the frames' raw bytes."""

    def __init__(self, tls: ServerTLS | None = None, host: str = "127.0.0.1") -> None:
        self.requests: list[Request] = []
        self.sockets: list[Socket] = []
        extra = {} if tls is None else {"ssl_context": tls}
        self._server = StreamServer((host, 0), self._handle, **extra)
        self._server.start()
        self.port: int = self._server.server_port

    def stop(self) -> None:
        self._server.stop(timeout=0)

    def _handle(self, sock: Socket, _address: object) -> None:
        self.sockets.append(sock)
        protocol = ServerProtocol()
        while protocol.state is CONNECTING:
            data = sock.recv(65536)
            if not data:
                return
            protocol.receive_data(data)
            for request in protocol.events_received():
                assert isinstance(request, Request)
                self.requests.append(request)
                protocol.send_response(protocol.accept(request))
        sock.sendall(b"".join(protocol.data_to_send()) + HELLO)
        while data := sock.recv(65536):
            sock.sendall(data)


@contextmanager
def upgrading_server(tls: ServerTLS | None = None, host: str = "127.0.0.1") -> Iterator[UpgradingServer]:
    server = UpgradingServer(tls, host)
    try:
        yield server
    finally:
        server.stop()


def hang_up(sock: Socket) -> None:
    """Close without an answer, once something has come."""
    sock.recv(65536)


@contextmanager
def scripted_server(handle: Callable[[Socket], None]) -> Iterator[int]:
    """A server's port; each connection is handled by `handle`, and closed when that returns."""
    server = StreamServer(("127.0.0.1", 0), lambda sock, _: handle(sock))
    server.start()
    try:
        yield server.server_port
    finally:
        server.stop(timeout=0)


def saying(answer: bytes) -> Callable[[Socket], None]:
    """A handler that waits for the end of a request's head, answers, and waits until the client hangs up."""

    def handle(sock: Socket) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            data = sock.recv(65536)
            if not data:
                return
            request += data
        sock.sendall(answer)
        while sock.recv(65536):
            pass

    return handle
