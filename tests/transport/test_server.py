from __future__ import annotations

import gc
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from gevent import socket
from gevent.event import Event
from websockets.protocol import CLIENT

from hubble.errors import LinkClosed
from hubble.proxy.app import Application
from hubble.transport import server as server_module
from hubble.transport.addresses import Socket
from hubble.transport.dial import DialOptions, Target, open_websocket, parse_url
from hubble.transport.link import Link
from hubble.transport.listen import open_listener
from hubble.transport.server import LinkServer, ServerOptions
from hubble.transport.servertls import ServerTLS
from hubble.transport.tls import TLSOptions, client_context, wrap
from tests.transport.certificates import Authority
from tests.transport.frames import binary
from tests.transport.links import Owner, Peer
from tests.transport.pairs import PATIENCE

KEY, ACCEPT = "dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
"""The example of RFC 6455, section 1.3."""
UPGRADE = {
    "Host": "example.com",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Version": "13",
}


class Echo:
    """Serves links: sends every message back, and keeps what it learnt."""

    def __init__(self) -> None:
        self.links: list[Link] = []
        self.environs: list[dict[str, Any]] = []
        self.ended = Event()
        self.serving: Callable[[Link], None] = self.echo

    def __call__(self, link: Link, environ: dict[str, Any]) -> None:
        self.links.append(link)
        self.environs.append(environ)
        try:
            self.serving(link)
        finally:
            self.ended.set()

    def echo(self, link: Link) -> None:
        try:
            for message in link.messages():
                link.send(message)
        except LinkClosed:
            pass


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
def port(echo: Echo, options: ServerOptions, caplog: pytest.LogCaptureFixture) -> Iterator[int]:
    """A server's port. Whatever clients did, it must not have logged an error."""
    listener = open_listener("127.0.0.1", 0)
    server = LinkServer(listener, Application(echo), options)
    server.start()
    with caplog.at_level(logging.WARNING):
        yield server.server_port
    server.stop(timeout=0)
    assert [record.getMessage() for record in caplog.records] == []


@pytest.fixture
def options() -> ServerOptions:
    return ServerOptions()


@pytest.fixture
def client(port: int) -> Iterator[Socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as sock:
        yield sock


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


class OverTLS:
    """Has a class's tests run again, over TLS."""

    @pytest.fixture
    def options(self, ca: Authority) -> ServerOptions:
        identity = ca.issue("127.0.0.1")
        return ServerOptions(tls=ServerTLS(identity.cert, identity.key))

    @pytest.fixture
    def client(self, port: int, ca: Authority) -> Iterator[Socket]:
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as sock:
            yield wrap(sock, "127.0.0.1", client_context(TLSOptions(ca_file=ca.file)))


class Answer:
    """One HTTP answer, read off a connection."""

    def __init__(self, sock: Socket, head_only: bool = False) -> None:
        data = b""
        while b"\r\n\r\n" not in data:
            more = sock.recv(65536)
            assert more, f"the connection ended after {data!r}"
            data += more
        head, _, self.rest = data.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        self.status = int(first.split()[1])
        self.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        self.body = b""
        if self.status != 101 and not head_only:
            length = int(self.headers["content-length"])
            while len(self.rest) < length:
                more = sock.recv(65536)
                assert more, f"the body ended after {len(self.rest)} of {length} bytes"
                self.rest += more
            self.body, self.rest = self.rest[:length], self.rest[length:]


def request(method: str = "GET", path: str = "/", headers: dict[str, str] | None = None, version: str = "1.1") -> bytes:
    headers = {"Host": "example.com"} if headers is None else headers
    lines = [f"{method} {path} HTTP/{version}", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1")


def ask(sock: Socket, *arguments: Any, **named: Any) -> Answer:
    sock.sendall(request(*arguments, **named))
    method = arguments[0] if arguments else named.get("method", "GET")
    return Answer(sock, head_only=method == "HEAD")


def upgraded(sock: Socket, behind: bytes = b"") -> Peer:
    """The client of a link, which has sent the bytes `behind` right behind its request."""
    sock.sendall(request("GET", "/", UPGRADE) + behind)
    answer = Answer(sock)
    assert answer.status == 101
    return Peer(sock, CLIENT, answer.rest)


def seconds_until_closed(sock: Socket) -> float:
    started = time.monotonic()
    while sock.recv(65536):
        pass
    return time.monotonic() - started


class TestUpgrade:
    @pytest.mark.parametrize("path", ["/", "/any/path?and=query", "/healthz"])
    def test_on_any_path(self, client: Socket, echo: Echo, path: str) -> None:
        answer = ask(client, "GET", path, UPGRADE)
        assert (answer.status, answer.headers["sec-websocket-accept"]) == (101, ACCEPT)
        assert answer.headers["upgrade"].lower() == "websocket"
        assert answer.headers["connection"].lower() == "upgrade"
        peer = Peer(client, CLIENT, answer.rest)
        peer.send(binary(b"hello", masked=True))
        assert peer.message() == b"hello"
        assert echo.environs[0]["REMOTE_ADDR"] == "127.0.0.1"

    def test_by_our_own_dialling(self, port: int) -> None:
        owner = self.dialled(parse_url(f"ws://127.0.0.1:{port}/path"), TLSOptions())
        owner.link.send(bytes(100_000))
        assert owner.wait_received(1) == [bytes(100_000)]
        owner.link.close(1000, "done")
        assert owner.wait_end() == "done"

    def dialled(self, target: Target, tls: TLSOptions) -> Owner:
        upgraded = open_websocket(target, DialOptions(proxy="none", tls=tls))
        return Owner(Link(upgraded.socket, CLIENT, leftover=upgraded.leftover))

    def test_bytes_behind_the_request_are_kept(self, client: Socket) -> None:
        stream = binary(b"one", masked=True) + binary(bytes(70_000), masked=True)
        peer = upgraded(client, stream[:-1])
        peer.send(stream[-1:])
        assert [peer.message(), peer.message()] == [b"one", bytes(70_000)]

    def test_nothing_but_the_link_sends(self, client: Socket, echo: Echo) -> None:
        peer = upgraded(client)
        gc.collect()  # the library's own WebSocket would say Close now
        peer.send(binary(b"still here?", masked=True))
        assert peer.message() == b"still here?"
        assert not echo.links[0].closed

    def test_a_link_ends_with_its_application(self, client: Socket, echo: Echo) -> None:
        echo.serving = lambda link: None
        upgraded(client)
        assert seconds_until_closed(client) < PATIENCE
        assert echo.links[0].why == "the proxy is done with it"

    def test_a_client_that_vanishes_ends_the_link(self, client: Socket, echo: Echo) -> None:
        upgraded(client)
        client.close()
        assert echo.ended.wait(PATIENCE)

    @pytest.mark.parametrize(
        "change, status",
        [
            ({"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ"}, 400),  # no padding
            ({"Sec-WebSocket-Key": "dG hlIHNhb XBsZSBub25jZQ=="}, 101),  # what base64 passes over
            ({"Sec-WebSocket-Key": "c2hvcnQ="}, 400),
            ({"Sec-WebSocket-Key": "\xfcnicode"}, 400),
            ({"Sec-WebSocket-Key": ""}, 400),
            ({"Sec-WebSocket-Version": "99"}, 400),
            ({"Sec-WebSocket-Version": ""}, 426),
            ({"Connection": "close"}, 426),
        ],
    )
    def test_what_is_malformed_is_refused(
        self, client: Socket, echo: Echo, change: dict[str, str], status: int
    ) -> None:
        assert ask(client, "GET", "/", UPGRADE | change).status == status
        assert len(echo.links) == (status == 101)

    def test_http_1_0_is_refused(self, client: Socket, echo: Echo) -> None:
        assert 400 <= ask(client, "GET", "/", UPGRADE, version="1.0").status < 500
        assert not echo.links


class TestUpgradeOverTLS(OverTLS, TestUpgrade):
    def test_by_our_own_dialling(self, port: int, ca: Authority) -> None:  # type: ignore[override]
        owner = self.dialled(parse_url(f"wss://127.0.0.1:{port}/path"), TLSOptions(ca_file=ca.file))
        owner.link.send(bytes(100_000))
        assert owner.wait_received(1) == [bytes(100_000)]
        owner.link.close(1000, "done")
        assert owner.wait_end() == "done"


class TestPlainRequests:
    @pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "OPTIONS"])
    def test_are_told_to_upgrade(self, client: Socket, method: str) -> None:
        answer = ask(client, method, "/")
        assert answer.status == 426
        assert answer.headers["upgrade"] == "websocket"
        assert "upgrade" in answer.headers["connection"].lower()
        assert b"agents connect here over a WebSocket" in answer.body or method == "HEAD"

    def test_get_no_body_for_head(self, client: Socket) -> None:
        answer = ask(client, "HEAD", "/healthz", {"Connection": "close"})
        assert (answer.status, answer.headers["content-length"]) == (200, "3")
        assert answer.rest == b"" and client.recv(100) == b""

    def test_health(self, client: Socket) -> None:
        for _ in range(3):  # on one connection
            answer = ask(client, "GET", "/healthz")
            assert (answer.status, answer.body) == (200, b"ok\n")
            assert answer.headers["content-type"].startswith("text/plain")

    @pytest.mark.parametrize("junk", [b"\x16\x03\x01\x02\x00\x01\x00", b"hello\r\n\r\n", b"GET\r\n\r\n", b"\r\n" * 5])
    def test_junk_is_refused(self, client: Socket, junk: bytes) -> None:
        client.sendall(junk)
        client.shutdown(socket.SHUT_WR)
        assert client.recv(65536)[:12] in (b"HTTP/1.1 400", b"HTTP/1.0 400", b"")


class TestSlowClients:
    @pytest.fixture(autouse=True)
    def impatience(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(server_module, "HEAD_TIMEOUT", 0.3)

    @pytest.mark.parametrize("begun", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: exa"])
    def test_a_head_that_does_not_end_is_answered_408(self, client: Socket, begun: bytes) -> None:
        client.sendall(begun)
        answer = Answer(client)
        assert (answer.status, answer.headers["connection"]) == (408, "close")
        assert seconds_until_closed(client) < PATIENCE

    def test_a_trickle_gains_no_time(self, client: Socket) -> None:
        def trickle() -> None:
            for byte in request(headers={"X-Slow": "x" * 1000}):
                client.sendall(bytes([byte]))
                gevent.sleep(0.02)

        trickling = gevent.spawn(trickle)
        assert Answer(client).status == 408
        trickling.kill()

    def test_a_body_that_does_not_come_holds_nothing(self, client: Socket) -> None:
        client.sendall(request("POST", "/", {"Content-Length": "1000000"}) + b"x")
        assert Answer(client).status == 426
        assert seconds_until_closed(client) < PATIENCE

    def test_a_link_is_not_bound_by_it(self, client: Socket) -> None:
        peer = upgraded(client)
        gevent.sleep(0.5)  # longer than a head may take
        peer.send(binary(b"still here?", masked=True))
        assert peer.message() == b"still here?"


class TestSlowClientsOverTLS(OverTLS, TestSlowClients):
    pass
