from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from typing import Any

import gevent
import gevent.select
import pytest
from gevent.event import Event

from hubble.base.errors import DialError, UsageError
from hubble.transport.addresses import Socket
from hubble.transport.dial import answer, dial
from hubble.transport.dial.dial import (
    DialOptions,
    Target,
    UpgradeRefused,
    check_usage,
    open_websocket,
    parse_url,
)
from hubble.transport.tls import TLSOptions
from tests.support.wsserver import HELLO, hang_up, saying, scripted_server, upgrading_server

DIRECT = DialOptions(proxy="none")


def read(sock: Any, size: int) -> bytes:
    data = b""
    while len(data) < size:
        received = sock.recv(size - len(data))
        assert received, "the connection ended"
        data += received
    return data


def target(port: int, rest: str = "") -> Target:
    return parse_url(f"ws://127.0.0.1:{port}{rest}")


def failure(port: int, options: DialOptions = DIRECT) -> DialError:
    with pytest.raises(DialError) as caught:
        open_websocket(target(port), options)
    assert "\n" not in str(caught.value)
    return caught.value


def answering(response: bytes, options: DialOptions = DIRECT) -> DialError:
    with scripted_server(saying(response)) as port:
        return failure(port, options)


class TestParseURL:
    @pytest.mark.parametrize(
        "url, secure, host, port, path, query",
        [
            ("ws://example.com", False, "example.com", 80, "/", ""),
            ("wss://example.com/hubble?a=b%20c&d", True, "example.com", 443, "/hubble", "a=b%20c&d"),
            ("http://example.com:8080/", False, "example.com", 8080, "/", ""),
            ("https://EXAMPLE.com", True, "example.com", 443, "/", ""),
            ("WSS://example.com", True, "example.com", 443, "/", ""),
            ("ws://[::1]:8080/x", False, "::1", 8080, "/x", ""),
            ("ws://[fe80::1%25eth0]:8080", False, "fe80::1%eth0", 8080, "/", ""),
            ("ws://bücher.example/straße", False, "xn--bcher-kva.example", 80, "/stra%C3%9Fe", ""),
        ],
    )
    def test_what_can_be_dialled(self, url: str, secure: bool, host: str, port: int, path: str, query: str) -> None:
        assert parse_url(url) == Target(secure, host, port, path, query)

    def test_user_and_password(self) -> None:
        found = parse_url("wss://us%40er:pass%3Aword@example.com/")
        assert (found.username, found.password) == ("us@er", "pass:word")

    @pytest.mark.parametrize(
        "url, said",
        [
            ("", "has no scheme"),
            ("localhost:8080", "has no scheme"),
            ("example.com", "has no scheme"),
            ("ftp://example.com", "unknown scheme 'ftp'"),
            ("ws://", "has no host"),
            ("ws://:8080/", "has no host"),
            ("ws://example.com:0", "port 0"),
            ("ws://example.com:65536", "out of range"),
            ("ws://example.com:http", "cannot be used"),
            ("ws://[::1", "cannot be used"),
            ("ws://[example]/", "cannot be used"),
            ("ws://example.com/#top", "fragment"),
            ("ws://exam ple.com/", "space or a control character"),
            ("ws://example.com/\udcff", "contains bytes that are not UTF-8"),
            ("ws://example.com/a\r\nX-Injected: 1", "space or a control character"),
            ("ws://a..b.ü/", "has an invalid host name"),
            ("wss://us:er:x@example.com:y/", "cannot be used"),
        ],
    )
    def test_what_cannot(self, url: str, said: str) -> None:
        with pytest.raises(UsageError) as caught:
            parse_url(url)
        assert said in str(caught.value)
        assert str(caught.value).isprintable()

    def test_secrets_are_shown_nowhere(self) -> None:
        found = parse_url("ws://user:SECRET@example.com/x?token=SECRET")
        assert str(found) == "ws://example.com:80/x"
        assert "SECRET" not in repr(found)
        for password in ("SECRET", "SECRET" * 100, "SEC\nRET", "SE/CRET@"):
            with pytest.raises(UsageError) as caught:
                parse_url(f"wsx://user:{password}@example.com/")
            assert "RET" not in str(caught.value)


class TestOptions:
    @pytest.mark.parametrize("name", ["", "a b", "x:", "é", "Host", "upgrade", "Connection", "Sec-WebSocket-Key"])
    def test_a_header_that_cannot_be_set(self, name: str) -> None:
        with pytest.raises(UsageError):
            DialOptions(headers=((name, "x"),))

    @pytest.mark.parametrize("value", ["a\r\nb: c", "a\0", "\u20ac"])
    def test_a_header_value_that_cannot_be_sent(self, value: str) -> None:
        with pytest.raises(UsageError, match="X-Name"):
            DialOptions(headers=(("X-Name", value),))

    def test_a_host_that_cannot_be_sent(self) -> None:
        with pytest.raises(UsageError):
            DialOptions(host="a\r\nb")

    def test_secrets_are_shown_nowhere(self) -> None:
        options = DialOptions(proxy="http://user:SECRET@proxy", headers=(("Authorization", "SECRET"),))
        assert "SECRET" not in repr(options)

    def test_usage_is_checked_before_dialling(self) -> None:
        check_usage(parse_url("ws://example.com"), DIRECT)
        with pytest.raises(UsageError, match="no-such-file"):
            check_usage(parse_url("wss://example.com"), DialOptions(tls=TLSOptions(ca_file="no-such-file")))
        with pytest.raises(UsageError, match="gopher"):
            check_usage(parse_url("ws://example.com"), DialOptions(proxy="gopher://proxy"))


class TestUpgrade:
    def test_frames_of_the_server_are_kept_and_the_socket_is_open(self) -> None:
        with upgrading_server() as server:
            upgraded = open_websocket(target(server.port), DIRECT)
            with upgraded.socket as sock:
                assert upgraded.remote_address == ("127.0.0.1", server.port)
                assert upgraded.leftover + read(sock, len(HELLO) - len(upgraded.leftover)) == HELLO
                sock.sendall(b"any bytes")
                assert read(sock, 9) == b"any bytes"

    def test_the_request_has_path_query_host_and_user(self) -> None:
        with upgrading_server() as server:
            url = f"ws://user:pass%3Aword@localhost:{server.port}/hubble?a=b"
            open_websocket(parse_url(url), DIRECT).socket.close()
        (request,) = server.requests
        assert request.path == "/hubble?a=b"
        assert request.headers["Host"] == f"localhost:{server.port}"
        assert request.headers["Authorization"] == "Basic dXNlcjpwYXNzOndvcmQ="
        assert "Sec-WebSocket-Extensions" not in request.headers

    def test_more_headers_and_another_host(self) -> None:
        options = DialOptions(proxy="none", headers=(("X-Token", "1"), ("X-Token", "2")), host="front.example")
        with upgrading_server() as server:
            open_websocket(target(server.port), options).socket.close()
        (request,) = server.requests
        assert request.headers["Host"] == "front.example"
        assert request.headers.get_all("X-Token") == ["1", "2"]

    def test_over_ipv6(self) -> None:
        with upgrading_server(host="::1") as server:
            upgraded = open_websocket(parse_url(f"ws://[::1]:{server.port}/"), DIRECT)
            upgraded.socket.close()
        assert upgraded.remote_address == ("::1", server.port)
        assert server.requests[0].headers["Host"] == f"[::1]:{server.port}"

    def test_an_interim_answer_is_passed_over(self) -> None:
        with scripted_server(saying(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 404 Not Found\r\n\r\n")) as port:
            error = failure(port)
        assert isinstance(error, UpgradeRefused) and error.http_status == 404


class TestRefusal:
    def test_status_and_text_are_reported(self) -> None:
        error = answering(
            b"HTTP/1.1 403 Forbidden\r\nContent-Length: 59\r\n\r\n"
            b"<html><head><title>Go\n away</title></head><body>no</body>..."
        )
        assert isinstance(error, UpgradeRefused) and error.http_status == 403
        assert "the server refused the upgrade: 403 Forbidden: Go away: " in str(error)

    def test_control_characters_of_the_server_do_not_reach_the_terminal(self) -> None:
        page = b"\x1b[31mred\x07 \xc2\x9b and \xe2\x80\xae more....."
        error = answering(b"HTTP/1.1 400 Bad\x80\r\nContent-Length: 30\r\n\r\n" + page)
        assert str(error).isprintable()
        assert "red" in str(error)

    def test_a_redirect_is_not_followed_but_named(self) -> None:
        with upgrading_server() as other:
            location = f"ws://127.0.0.1:{other.port}/".encode()
            error = answering(
                b"HTTP/1.1 301 Moved Permanently\r\nLocation: " + location + b"\r\nContent-Length: 0\r\n\r\n"
            )
        assert isinstance(error, UpgradeRefused) and error.http_status == 301
        assert f"redirects to {location.decode()}" in str(error)
        assert other.requests == []

    def test_an_endless_page_is_not_waited_for(self, monkeypatch: Any) -> None:
        monkeypatch.setattr(answer, "BODY_WAIT", 0.1)
        error = answering(b"HTTP/1.1 502 Bad Gateway\r\n\r\nupstream is down\n...")
        assert isinstance(error, UpgradeRefused) and error.http_status == 502
        assert "upstream is down" in str(error)

    def test_a_chunked_page(self) -> None:
        error = answering(b"HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nlater\r\n0\r\n\r\n")
        assert "503 Busy: later: " in str(error)

    @pytest.mark.parametrize(
        "headers",
        [
            b"",
            b"Upgrade: websocket\r\nConnection: Upgrade\r\n",
            b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: d3Jvbmc=\r\n",
        ],
    )
    def test_an_upgrade_that_is_none(self, headers: bytes) -> None:
        error = answering(b"HTTP/1.1 101 Switching Protocols\r\n" + headers + b"\r\n")
        assert "invalid answer to the upgrade" in str(error)

    @pytest.mark.parametrize(
        "raw, said",
        [
            (b"SSH-2.0-OpenSSH_9.2\r\n", "does not speak HTTP"),
            (b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "does not speak HTTP"),
            (b"x" * 20000, "does not speak HTTP"),
            (b"\x15\x03\x01\x00\x02\x02\x16\r\n", "use wss://"),
            (b"HTTP/1.1 400 Bad\r\nContent-Length: 42\r\n\r\nClient sent an HTTP request to HTTPS......", "use wss://"),
        ],
    )
    def test_what_answers_is_something_else(self, raw: bytes, said: str) -> None:
        assert said in str(answering(raw))

    def test_a_server_that_hangs_up(self) -> None:
        with scripted_server(hang_up) as port:
            assert "closed the connection without an answer" in str(failure(port))

    def test_the_connection_is_closed_even_while_the_error_is_kept(self) -> None:
        closed = Event()

        def handle(sock: Socket) -> None:
            sock.recv(65536)
            sock.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            assert sock.recv(100) == b""
            closed.set()

        with scripted_server(handle) as port:
            error = failure(port)
            assert closed.wait(5), error

    def test_nothing_listens(self) -> None:
        with scripted_server(lambda sock: None) as port:
            pass
        assert str(failure(port)) == f"cannot connect to 127.0.0.1:{port}: Connection refused"


class TestDeadlines:
    quick = DialOptions(proxy="none", handshake_timeout=0.3)

    @pytest.fixture(autouse=True)
    def in_time(self) -> Iterator[None]:
        started = time.monotonic()
        yield
        assert time.monotonic() - started < 5

    def test_a_silent_server(self) -> None:
        with scripted_server(lambda sock: gevent.sleep(60)) as port:
            assert "no answer to the upgrade within 0.3 s" in str(failure(port, self.quick))

    def test_a_server_that_sends_a_byte_now_and_then_gains_no_time(self) -> None:
        def drip(sock: Any) -> None:
            sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nX: ")
            while True:
                sock.sendall(b"x")
                gevent.sleep(0.02)

        with scripted_server(drip) as port:
            assert "no answer to the upgrade within 0.3 s" in str(failure(port, self.quick))

    def test_a_server_silent_at_the_tls_handshake(self) -> None:
        with (
            scripted_server(lambda sock: gevent.sleep(60)) as port,
            pytest.raises(DialError, match=r"no TLS handshake within 0\.3 s"),
        ):
            open_websocket(parse_url(f"wss://127.0.0.1:{port}/"), self.quick)


def test_a_connection_that_is_reset_at_once_is_a_failed_dial(monkeypatch: pytest.MonkeyPatch) -> None:
    """As soon as the kernel has seen the reset it does not even say who the other side was."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def reach_and_lose(target: Target, options: DialOptions) -> Socket:
            sock = socket.create_connection(listener.getsockname())
            accepted, _ = listener.accept()
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            accepted.close()
            gevent.select.select([sock], [], [], 5)
            return sock

        monkeypatch.setattr(dial, "reach", reach_and_lose)
        with pytest.raises(DialError, match="the server closed the connection"):
            open_websocket(target(listener.getsockname()[1]), DIRECT)
