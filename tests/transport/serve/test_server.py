from __future__ import annotations

import gc
import logging
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from gevent import socket
from gevent.event import Event
from gevent.pywsgi import MAX_REQUEST_LINE
from websockets.protocol import CLIENT

from hubble.base.errors import LinkClosed
from hubble.proxy.http.app import Application
from hubble.transport.addresses import Socket
from hubble.transport.dial.dial import DialOptions, Target, open_websocket, parse_url
from hubble.transport.link import Link
from hubble.transport.listen import open_listener
from hubble.transport.serve import server as server_module
from hubble.transport.serve.server import LinkServer, ServerOptions
from hubble.transport.serve.servertls import ServerTLS
from hubble.transport.tls import TLSOptions, client_context, wrap
from tests.support.certificates import Authority
from tests.support.frames import binary
from tests.support.links import Owner, Peer
from tests.support.pairs import PATIENCE
from tests.support.waiting import poll

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
        for size in (100, 100_000):  # the first message has a lower limit
            owner.link.send(bytes(size), "in order")
        assert owner.wait_received(2) == [bytes(100), bytes(100_000)]
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
            ({"Sec-WebSocket-Key": "dG hlIHNhb XBsZSBub25jZQ=="}, 400),  # what lenient decoders pass over
            ({"Sec-WebSocket-Key": "c2hvcnQ="}, 400),
            ({"Sec-WebSocket-Key": "\xfcnicode"}, 400),
            ({"Sec-WebSocket-Key": ""}, 400),
            ({"Sec-WebSocket-Version": "99"}, 426),
            ({"Sec-WebSocket-Version": ""}, 426),
            ({"Connection": "close"}, 426),
            ({"Upgrade": "websocket, h2c"}, 400),
            ({"Content-Length": "1"}, 400),
        ],
    )
    def test_what_is_malformed_is_refused(
        self, client: Socket, echo: Echo, change: dict[str, str], status: int
    ) -> None:
        assert ask(client, "GET", "/", UPGRADE | change).status == status
        assert not echo.links

    def test_http_1_0_is_refused_and_told_what_a_front_server_lacks(self, client: Socket, echo: Echo) -> None:
        answer = ask(client, "GET", "/", UPGRADE, version="1.0")
        assert answer.status == 426
        assert answer.headers["upgrade"] == "websocket"
        assert b"proxy_http_version 1.1" in answer.body
        assert not echo.links


class TestUpgradeOverTLS(OverTLS, TestUpgrade):
    def test_by_our_own_dialling(self, port: int, ca: Authority) -> None:  # type: ignore[override]
        owner = self.dialled(parse_url(f"wss://127.0.0.1:{port}/path"), TLSOptions(ca_file=ca.file))
        for size in (100, 100_000):  # the first message has a lower limit
            owner.link.send(bytes(size), "in order")
        assert owner.wait_received(2) == [bytes(100), bytes(100_000)]
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

    def test_a_long_request_line_is_refused(self, client: Socket) -> None:
        client.sendall(b"GET /" + b"x" * MAX_REQUEST_LINE)  # no line break within the bound: nothing more is awaited
        assert client.recv(65536)[9:12] == b"414"


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


class FakeLoad:
    """What a server says of itself, and a test of the others."""

    def __init__(self) -> None:
        self.said: list[int | None] = []
        self.above = False

    @property
    def connections(self) -> int | None:
        return self.said[-1]

    def set(self, connections: int) -> None:
        self.said.append(connections)

    def withdraw(self) -> None:
        self.said.append(None)

    def is_above_others(self) -> bool:
        return self.above

    def excess(self) -> int:
        return 0


class Sharer:
    """One of several servers on a listener, which says its name to whoever asks."""

    def __init__(self, listener: Socket, name: str, load: FakeLoad | None) -> None:
        self.name = name
        own = socket.socket(fileno=os.dup(listener.fileno()))

        def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
            start_response("200 OK", [("Content-Length", str(len(name)))])
            return [name.encode()]

        self.server = LinkServer(own, application, load=load)


class TestSharing:
    """Several servers on one listener, which know each other's numbers of connections."""

    @pytest.fixture
    def listener(self) -> Iterator[Socket]:
        listener = open_listener("127.0.0.1", 0)
        yield listener
        listener.close()

    @pytest.fixture
    def loads(self) -> list[FakeLoad]:
        return [FakeLoad(), FakeLoad()]

    @pytest.fixture
    def servers(self, listener: Socket, loads: list[FakeLoad]) -> Iterator[list[LinkServer]]:
        """Two that were not started yet, "0" and "1"."""
        servers = [Sharer(listener, str(number), load).server for number, load in enumerate(loads)]
        yield servers
        for server in servers:
            server.stop(timeout=0)

    @pytest.fixture
    def who(self, listener: Socket) -> Iterator[Callable[[], str]]:
        """Makes a connection, which stays; the server that has taken it."""
        opened: list[Socket] = []

        def ask_anew() -> str:
            opened.append(socket.create_connection(listener.getsockname(), timeout=PATIENCE))
            return ask(opened[-1]).body.decode()

        yield ask_anew
        for sock in opened:
            sock.close()

    def test_a_server_says_how_many_it_has(
        self, listener: Socket, servers: list[LinkServer], loads: list[FakeLoad]
    ) -> None:
        servers[0].start()
        assert loads[0].said == [0]
        first, second = (socket.create_connection(listener.getsockname(), timeout=PATIENCE) for _ in range(2))
        for sock in (first, second):
            ask(sock)
        assert loads[0].said == [0, 1, 2]
        for sock, left in ((first, 1), (second, 0)):
            sock.close()
            poll(lambda left=left: loads[0].connections == left, PATIENCE, f"{left} are left")  # type: ignore[misc]

    def test_a_link_counts_until_it_ends(self, listener: Socket, echo: Echo) -> None:
        load = FakeLoad()
        server = LinkServer(socket.socket(fileno=os.dup(listener.fileno())), Application(echo), load=load)
        server.start()
        peer = upgraded(socket.create_connection(listener.getsockname(), timeout=PATIENCE))
        poll(lambda: echo.links, PATIENCE, "a link")
        assert load.connections == 1
        peer.sock.close()
        poll(lambda: load.connections == 0, PATIENCE, "it is not counted any more")
        server.stop(timeout=0)

    @pytest.fixture
    def long_yield(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Else a connection may come in the very moment in which one is accepted that was left to the other."""
        monkeypatch.setattr(server_module, "YIELD", 0.5)

    @pytest.mark.parametrize("above", [0, 1])
    def test_who_has_more_leaves_connections_to_the_other(
        self, servers: list[LinkServer], loads: list[FakeLoad], who: Callable[[], str], long_yield: None, above: int
    ) -> None:
        loads[above].above = True
        for server in servers:
            server.start()
        assert [who() for _ in range(5)] == [str(1 - above)] * 5

    def test_who_has_more_takes_what_nobody_else_takes(
        self, servers: list[LinkServer], loads: list[FakeLoad], who: Callable[[], str]
    ) -> None:
        loads[0].above = True
        servers[0].start()
        assert [who() for _ in range(5)] == ["0"] * 5

    def test_who_has_taken_one_so_leaves_the_next_to_the_other_again(
        self,
        servers: list[LinkServer],
        loads: list[FakeLoad],
        who: Callable[[], str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        loads[0].above = True
        servers[0].start()
        assert who() == "0"
        monkeypatch.setattr(server_module, "YIELD", 0.5)
        servers[1].start()
        assert [who() for _ in range(4)] == ["1"] * 4

    def test_who_has_left_one_leaves_the_next_to_the_other_again(
        self,
        servers: list[LinkServer],
        loads: list[FakeLoad],
        who: Callable[[], str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """However long it waits: that one was taken, and this is another."""
        monkeypatch.setattr(server_module, "YIELD", 0.1)
        for server in servers:
            server.start()
        loads[0].above = True
        for _ in range(4):
            assert who() == "1"
            poll(lambda: servers[0]._watcher, PATIENCE, "it accepts again")

    def test_who_closes_meanwhile_accepts_nothing(
        self,
        listener: Socket,
        servers: list[LinkServer],
        loads: list[FakeLoad],
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        loads[0].above = True
        servers[0].start()
        yielded = Event()
        full = servers[0].full
        servers[0].full = lambda: full() and not yielded.set()  # type: ignore[method-assign]
        with socket.create_connection(listener.getsockname(), timeout=PATIENCE) as sock:
            assert yielded.wait(PATIENCE)
            servers[0].close()
            servers[1].start()
            assert ask(sock).body == b"1"
        gevent.sleep(2 * server_module.YIELD)  # its moment comes, and must not find it
        assert loads[0].said == [0, None]
        assert capsys.readouterr().err == ""

    def test_who_has_closed_is_absent_whatever_becomes_of_its_connections(
        self, servers: list[LinkServer], loads: list[FakeLoad], listener: Socket
    ) -> None:
        servers[0].start()
        with socket.create_connection(listener.getsockname(), timeout=PATIENCE) as sock:
            ask(sock)
            servers[0].close()
            assert ask(sock).body == b"0", "what was accepted goes on"
        poll(lambda: servers[0]._connections == 0, PATIENCE, "its connection ends")
        assert loads[0].said == [0, 1, None]

    def test_who_has_no_others_to_ask_does_not_wait(self, listener: Socket, who: Callable[[], str]) -> None:
        server = Sharer(listener, "alone", None).server
        server.start()
        assert [who() for _ in range(3)] == ["alone"] * 3
        server.stop(timeout=0)
