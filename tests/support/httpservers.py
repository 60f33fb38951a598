"""HTTP servers for the tests: a real one with an application of the test's, and raw ones that behave badly."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO
from urllib.parse import parse_qs

import gevent
from gevent import socket
from gevent.event import Event
from gevent.pywsgi import WSGIServer
from gevent.server import StreamServer

Answer = tuple[int, list[tuple[str, str]], bytes]


@dataclass(frozen=True)
class Received:
    """A request as the server got it."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes
    peer: str

    def parameter(self, name: str) -> str:
        return parse_qs(self.query, keep_blank_values=True).get(name, [""])[0]


@dataclass
class HttpServer:
    """Answers each request with what `respond` returns: a status, header fields and a body. Keeps all it got."""

    respond: Callable[[Received], Answer | int]
    received: list[Received] = field(default_factory=list)
    url: str = ""

    def application(self, environ: dict[str, object], start_response: Callable[..., object]) -> Iterable[bytes]:
        headers = {name[5:].replace("_", "-").lower(): str(environ[name]) for name in environ if name[:5] == "HTTP_"}
        for name in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            if name in environ:
                headers[name.replace("_", "-").lower()] = str(environ[name])
        request = Received(
            method=str(environ["REQUEST_METHOD"]),
            path=str(environ["PATH_INFO"]),
            query=str(environ["QUERY_STRING"]),
            headers=headers,
            body=environ["wsgi.input"].read(),  # type: ignore[attr-defined]
            peer=f"{environ['REMOTE_ADDR']}:{environ['REMOTE_PORT']}",
        )
        self.received.append(request)
        answer = self.respond(request)
        status, fields, body = (answer, [], b"") if isinstance(answer, int) else answer
        start_response(f"{status} Status", [("Content-Length", str(len(body))), *fields])
        return [] if request.method == "HEAD" else [body]


@contextmanager
def serving(respond: Callable[[Received], Answer | int], context: ssl.SSLContext | None = None) -> Iterator[HttpServer]:
    server = HttpServer(respond)
    options = {"ssl_context": context} if context else {}
    wsgi = WSGIServer(("127.0.0.1", 0), server.application, log=None, error_log=None, **options)
    wsgi.start()
    server.url = f"{'https' if context else 'http'}://{'localhost' if context else '127.0.0.1'}:{wsgi.server_port}"
    try:
        yield server
    finally:
        wsgi.stop(timeout=0)


@dataclass
class RawServer:
    """A TCP server without a protocol of its own. `closed` is set when a client has closed its connection."""

    url: str
    closed: Event = field(default_factory=Event)
    connections: list[socket.socket] = field(default_factory=list)


@contextmanager
def dripping(pieces: Iterable[bytes], pause: float = 0.0, then_close: bool = False) -> Iterator[RawServer]:
    """Sends the pieces, a pause after each, once a request's header has come, and keeps the connection open."""

    def handle(sock: socket.socket, _address: object) -> None:
        raw.connections.append(sock)
        try:
            request = b""
            while b"\r\n\r\n" not in request:
                request += sock.recv(65536)
            for piece in pieces:
                sock.sendall(piece)
                gevent.sleep(pause)
            if not then_close:
                sock.recv(1)
        except OSError:
            pass  # closed by the client, which is what some tests are about
        raw.closed.set()

    server = StreamServer(("127.0.0.1", 0), handle)
    server.start()
    raw = RawServer(f"http://127.0.0.1:{server.server_port}")
    try:
        yield raw
    finally:
        server.stop(timeout=0)


@contextmanager
def refusing() -> Iterator[str]:
    """The URL of a port at which nothing listens."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    try:
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    finally:
        sock.close()


def python_path() -> dict[str, str]:
    """The environment for a Python process of a test's own that imports the project."""
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}


@dataclass
class RecordingServer:
    """Keeps each request as the bytes that came, `heads`, and answers with what `respond` returns for its target."""

    url: str
    heads: list[bytes] = field(default_factory=list)

    @property
    def targets(self) -> list[bytes]:
        return [head.split(b"\r\n")[0].removesuffix(b" HTTP/1.1").partition(b" ")[2] for head in self.heads]


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def _head(stream: BinaryIO) -> bytes:
    """The head of a request with its blank line; empty at the end of the connection."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        line = stream.readline()
        if not line:
            return b""
        head += line
    return head


@contextmanager
def recording(respond: Callable[[bytes], bytes] = lambda _target: OK) -> Iterator[RecordingServer]:
    """Serves requests without looking at them more than it must: their heads end with a blank line, bodies have a
    Content-Length."""

    def handle(sock: socket.socket, _address: object) -> None:
        with sock.makefile("rb") as stream:
            while head := _head(stream):
                length = [line.partition(b":")[2] for line in head.lower().split(b"\r\n") if b"content-length:" in line]
                server.heads.append(head + stream.read(int(length[0]) if length else 0))
                sock.sendall(respond(server.targets[-1]))

    stream_server = StreamServer(("127.0.0.1", 0), handle)
    stream_server.start()
    server = RecordingServer(f"http://127.0.0.1:{stream_server.server_port}")
    try:
        yield server
    finally:
        stream_server.stop(timeout=0)
