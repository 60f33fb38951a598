"""Small services that sessions lead to, each on a free port of loopback."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable
from typing import Any

import gevent
from gevent.pywsgi import WSGIServer
from gevent.server import StreamServer

from tests.support.traffic import HEADER, Progress, both_ways, there_and_back
from tests.support.waiting import Changes

Handler = Callable[[socket.socket], None]


class Service:
    """Runs `handler` for each connection and closes it afterwards; what a handler raised is in `failures`."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self.failures: list[BaseException] = []
        self.accepted = 0
        self.changes = Changes()
        self._server = StreamServer(("127.0.0.1", 0), self._serve, backlog=1024)
        self._server.start()
        self.port: int = self._server.server_port

    def _serve(self, sock: socket.socket, _address: object) -> None:
        self.accepted += 1
        self.changes.happened()
        try:
            self._handler(sock)
        except gevent.GreenletExit:
            raise
        except Exception as error:
            self.failures.append(error)
        finally:
            sock.close()
            self.changes.happened()

    def wait_failure(self, within: float) -> BaseException:
        self.changes.wait_until(lambda: self.failures, within, "the service's connection fails")
        return self.failures[0]

    def close(self) -> None:
        self._server.stop(timeout=0)


def receive_all(sock: socket.socket) -> bytes:
    """All bytes until the peer's end of stream."""
    parts = []
    while data := sock.recv(256 * 1024):
        parts.append(data)
    return b"".join(parts)


def receive_exactly(sock: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        more = sock.recv(count - len(data))
        if not more:
            raise EOFError(f"ended after {len(data)} of {count} bytes")
        data += more
    return bytes(data)


def echo(sock: socket.socket) -> None:
    """Sends back what comes, and the end of the stream after it."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while data := sock.recv(256 * 1024):
        sock.sendall(data)


def sink(sock: socket.socket) -> None:
    while sock.recv(1024 * 1024):
        pass


def digest(data: bytes) -> bytes:
    return f"{len(data)} {hashlib.sha256(data).hexdigest()}\n".encode()


def digest_at_end(sock: socket.socket) -> None:
    """Answers only after the client's end of stream: the count and checksum of what came."""
    sock.sendall(digest(receive_all(sock)))


def source(data: bytes) -> Handler:
    """Sends `data` and closes, whatever comes."""

    def handler(sock: socket.socket) -> None:
        sock.sendall(data)

    return handler


def http_1_0(body: bytes) -> Handler:
    """Answers one request with `body`, whose end is the end of the connection."""

    def handler(sock: socket.socket) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            request += sock.recv(4096)
        sock.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: application/octet-stream\r\n\r\n" + body)

    return handler


class Exchange(Service):
    """`size` bytes both ways at the same time, each way compared by its receiver; see `traffic.exchange`."""

    def __init__(self, progress: Progress | None = None) -> None:
        self.completed = 0

        def handler(sock: socket.socket) -> None:
            seed, size = HEADER.unpack(receive_exactly(sock, HEADER.size))
            out, back = there_and_back(seed)
            both_ways(sock, back, out, size, progress)
            self.completed += 1

        super().__init__(handler)


class HttpFiles:
    """An HTTP server of files held in memory, by path."""

    def __init__(self, files: dict[str, bytes]) -> None:
        def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
            body = files.get(environ["PATH_INFO"])
            if body is None:
                start_response("404 Not Found", [("Content-Length", "0")])
                return []
            start_response("200 OK", [("Content-Length", str(len(body)))])
            return [body]

        self._server = WSGIServer(("127.0.0.1", 0), application, log=None)
        self._server.start()
        self.port: int = self._server.server_port

    def close(self) -> None:
        self._server.stop(timeout=0)
