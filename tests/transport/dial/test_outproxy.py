from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from gevent import socket

from hubble.base.errors import DialError, UsageError
from hubble.transport.addresses import Socket
from hubble.transport.dial.dial import DialOptions, Upgraded, open_websocket, parse_url
from hubble.transport.dial.outproxy import OutProxy, ProxyRefused, choose, excluded, parse_outproxy
from hubble.transport.dial.proxyauth import Challenge, Credentials, answer, digest, parse_challenges
from hubble.transport.serve.servertls import ServerTLS
from hubble.transport.stream import open_stream
from hubble.transport.tls import TLSOptions
from tests.support.certificates import Authority
from tests.support.ntlm import ntlm_helper
from tests.support.outproxies import (
    DIGEST_IN_URL,
    IN_URL,
    PASSWORD,
    USER,
    danted,
    microsocks,
    public_directory,
    squid,
    tinyproxy,
)
from tests.support.wsserver import HELLO, saying, scripted_server, upgrading_server

WEBSERVER = "ws.example"
"""A name that only squid can resolve: who goes through it must not try to."""


@pytest.fixture
def targets(ca: Authority) -> Iterator[Callable[..., list[str]]]:
    """A function that gives the URLs of a server with and one without TLS, for the name that the proxy is to hear."""
    identity = ca.issue("localhost", "127.0.0.1", WEBSERVER)
    with upgrading_server() as plain, upgrading_server(ServerTLS(identity.cert, identity.key)) as secure:
        yield lambda host="127.0.0.1": [f"ws://{host}:{plain.port}/", f"wss://{host}:{secure.port}/"]


@pytest.fixture
def no_environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("http", "https", "all", "no"):
        monkeypatch.delenv(f"{name}_proxy", raising=False)
        monkeypatch.delenv(f"{name}_proxy".upper(), raising=False)
    return monkeypatch


def dial(url: str, proxy: str, ca: Authority | None = None, **options: Any) -> Upgraded:
    tls = TLSOptions(ca_file=ca.file if ca else None)
    return open_websocket(parse_url(url), DialOptions(proxy=proxy, tls=tls, **options))


def succeeds(urls: list[str], proxy: str, ca: Authority) -> None:
    """The links work in both directions at once, with more bytes than fit in any one buffer on the way."""
    for url in urls:
        upgraded = dial(url, proxy, ca)
        with upgraded.socket as sock:
            assert read(sock, upgraded.leftover, len(HELLO)) == HELLO
            data = bytes(range(256)) * 16384
            writer = gevent.spawn(sock.sendall, data)
            assert read(sock, b"", len(data)) == data
            writer.get()


def read(sock: Any, first: bytes, size: int) -> bytes:
    data = bytearray(first)
    while len(data) < size:
        received = sock.recv(65536)
        assert received, "the connection ended"
        data += received
    return bytes(data)


def failure(url: str, proxy: str, ca: Authority | None = None, **options: Any) -> DialError:
    with pytest.raises(DialError) as caught:
        dial(url, proxy, ca, **options)
    assert str(caught.value).isprintable()
    for secret in (PASSWORD, "SECRET"):
        assert secret not in str(caught.value)
    return caught.value


class TestParse:
    @pytest.mark.parametrize(
        "url, scheme, host, port, credentials",
        [
            ("http://proxy", "http", "proxy", 80, None),
            ("https://proxy/", "https", "proxy", 443, None),
            ("socks5://proxy", "socks5", "proxy", 1080, None),
            ("socks5h://[::1]:9050", "socks5h", "::1", 9050, None),
            ("proxy:3128", "http", "proxy", 3128, None),
            ("user:word@proxy:3128", "http", "proxy", 3128, ("user", "word")),
            ("http://user@proxy", "http", "proxy", 80, ("user", "")),
            (f"http://{IN_URL}@proxy", "http", "proxy", 80, (USER, PASSWORD)),
            ("http://domain%5Cuser:p%40w@proxy", "http", "proxy", 80, ("domain\\user", "p@w")),
            ("socks5://%C3%BC:%3A@proxy", "socks5", "proxy", 1080, ("ü", ":")),
        ],
    )
    def test_what_can_be_used(
        self, url: str, scheme: str, host: str, port: int, credentials: tuple[str, str] | None
    ) -> None:
        assert parse_outproxy(url) == OutProxy(scheme, host, port, credentials and Credentials(*credentials))

    @pytest.mark.parametrize(
        "url, said",
        [
            ("gopher://proxy", "http, https, socks5, socks5h"),
            ("socks4://proxy", "http, https, socks5, socks5h"),
            ("http://", "http://host:port"),
            ("http://proxy:99999", "invalid host or port"),
            ("http://proxy:0", "http://host:port"),
            ("http://pro xy", "http://host:port"),
            ("http://us%3Aer:SECRET@proxy", "colon"),
            ("http://user:SECRET%0D%0A@proxy", "control character"),
            ("socks5://user:@proxy", "255 bytes"),
            ("socks5://user:" + "SECRET" * 50 + "@proxy", "255 bytes"),
            ("gopher://user:SECRET@proxy", "***@proxy"),
            ("user:SECRET@proxy:x", "***@proxy"),
        ],
    )
    def test_what_cannot(self, url: str, said: str) -> None:
        with pytest.raises(UsageError) as caught:
            parse_outproxy(url)
        assert said in str(caught.value)
        assert "SECRET" not in str(caught.value)

    def test_no_password_in_any_repr(self) -> None:
        proxy = parse_outproxy("http://user:SECRET@proxy")
        assert "SECRET" not in f"{proxy!r} {proxy} {proxy.credentials!r} {proxy.credentials}"


class TestChoose:
    @pytest.mark.parametrize(
        "environment, secure, expected",
        [
            ({}, False, None),
            ({"http_proxy": "a"}, False, "a"),
            ({"HTTP_PROXY": "a"}, False, "a"),
            ({"HTTP_PROXY": "a", "http_proxy": "b"}, False, "b"),
            ({"http_proxy": "a"}, True, None),
            ({"https_proxy": "a"}, True, "a"),
            ({"https_proxy": "a"}, False, None),
            ({"HTTPS_PROXY": "a", "ALL_PROXY": "b"}, True, "a"),
            ({"HTTPS_PROXY": "a", "ALL_PROXY": "b"}, False, "b"),
            ({"all_proxy": "a", "no_proxy": "hub.example.com"}, True, None),
            ({"all_proxy": "a", "NO_PROXY": "example.com"}, True, None),
            ({"all_proxy": "a", "no_proxy": "*"}, True, None),
            ({"all_proxy": "a", "no_proxy": "other.com, x.example.com"}, True, "a"),
        ],
    )
    def test_from_the_environment(
        self, no_environment: Any, environment: dict[str, str], secure: bool, expected: str | None
    ) -> None:
        for name, value in environment.items():
            no_environment.setenv(name, value if "no" in name.lower() else f"http://{value}:1")
        chosen = choose(None, secure, "hub.example.com", 443)
        assert (chosen and chosen.host) == expected

    @pytest.mark.parametrize("host", ["localhost", "a.localhost", "127.0.0.1", "127.9.9.9", "::1"])
    def test_this_machine_is_not_dialled_through_the_environment_s_proxy(self, no_environment: Any, host: str) -> None:
        no_environment.setenv("all_proxy", "http://proxy:1")
        assert choose(None, False, host, 80) is None
        assert choose("http://proxy:1", False, host, 80) is not None

    def test_the_setting_goes_before_the_environment(self, no_environment: Any) -> None:
        no_environment.setenv("all_proxy", "http://a:1")
        no_environment.setenv("no_proxy", "*")
        chosen = choose("socks5://b", True, "example.com", 443)
        assert chosen == OutProxy("socks5", "b", 1080)

    @pytest.mark.parametrize("setting", ["", "none"])
    def test_the_setting_may_forbid_a_proxy(self, no_environment: Any, setting: str) -> None:
        no_environment.setenv("all_proxy", "http://a:1")
        assert choose(setting, True, "example.com", 443) is None

    def test_a_bad_proxy_in_the_environment_is_an_error(self, no_environment: Any) -> None:
        no_environment.setenv("all_proxy", "gopher://a:1")
        with pytest.raises(UsageError, match="gopher"):
            choose(None, True, "example.com", 443)

    @pytest.mark.parametrize(
        "host, no_proxy, expected",
        [
            ("a.example.com", "example.com", True),
            ("example.com", "example.com", True),
            ("a.example.com", ".example.com", True),
            ("a.example.com", "*.example.com", True),
            ("A.Example.COM.", "EXAMPLE.com", True),
            ("badexample.com", "example.com", False),
            ("example.com", "example.com:443", True),
            ("example.com", "example.com:80", False),
            ("example.com", "a, b\tc  example.com", True),
            ("10.1.2.3", "10.0.0.0/8", True),
            ("10.1.2.3", "10.1.2.3", True),
            ("11.1.2.3", "10.0.0.0/8", False),
            ("10.1.2.3", "10.1.2.99/24", True),
            ("2001:db8::1", "2001:db8::/32", True),
            ("2001:db8::1", "[2001:db8::1]", True),
            ("2001:db8::1", "10.0.0.0/8", False),
            ("example.com", "10.0.0.0/8", False),
            ("example.com", "", False),
            ("example.com", ",. ,", False),
        ],
    )
    def test_exclusions(self, host: str, no_proxy: str, expected: bool) -> None:
        assert excluded(host, 443, no_proxy) is expected


class TestSquid:
    def test_without_password(self, targets: Any, ca: Authority) -> None:
        with squid(hosts=f"127.0.0.1 {WEBSERVER}") as port:
            succeeds(targets(WEBSERVER), f"http://localhost:{port}", ca)

    def test_from_the_environment(self, ca: Authority, no_environment: Any) -> None:
        with upgrading_server() as server, squid(hosts=f"127.0.0.1 {WEBSERVER}") as port:
            no_environment.setenv("http_proxy", f"http://127.0.0.1:{port}")
            upgraded = open_websocket(parse_url(f"ws://{WEBSERVER}:{server.port}/"))
            upgraded.socket.close()
        assert upgraded.remote_address == ("127.0.0.1", port)

    @pytest.mark.parametrize("kind, user", [("basic", IN_URL), ("digest", DIGEST_IN_URL)])
    def test_with_password(self, targets: Any, ca: Authority, kind: str, user: str) -> None:
        with squid(kind) as port:
            succeeds(targets(), f"http://{user}@127.0.0.1:{port}", ca)
            wrong = failure(targets()[0], f"http://user:SECRET@127.0.0.1:{port}", ca)
            missing = failure(targets()[0], f"http://127.0.0.1:{port}", ca)
        for error in (wrong, missing):
            assert isinstance(error, ProxyRefused) and error.http_status == 407
            assert "ERROR: Cache Access Denied" in str(error)
        assert "are user and password right?" in str(wrong)
        assert "it requires a user and password: --proxy http://USER:PASSWORD@HOST:PORT" in str(missing)

    def test_over_tls(self, targets: Any, ca: Authority) -> None:
        identity = ca.issue("localhost")
        with squid(tls=(identity.cert, identity.key)) as port:
            succeeds(targets(), f"https://localhost:{port}", ca)
            assert "its certificate is not for this address" in str(
                failure(targets()[0], f"https://127.0.0.1:{port}", ca)
            )

    def test_the_end_of_tls_within_tls(self, ca: Authority) -> None:
        identity = ca.issue("localhost")
        with (
            squid(tls=(identity.cert, identity.key)) as port,
            upgrading_server(ServerTLS(identity.cert, identity.key)) as server,
        ):
            upgraded = dial(f"wss://localhost:{server.port}/", f"https://localhost:{port}", ca)
            with upgraded.socket as sock:
                read(sock, upgraded.leftover, len(HELLO))
                server.sockets[0].shutdown(socket.SHUT_RDWR)
                assert sock.recv(100) == b""

    def test_a_stream_over_tls_within_tls_encrypts(self, ca: Authority) -> None:
        identity = ca.issue("localhost")
        with (
            squid(tls=(identity.cert, identity.key)) as port,
            upgrading_server(ServerTLS(identity.cert, identity.key)) as server,
        ):
            upgraded = dial(f"wss://localhost:{server.port}/", f"https://localhost:{port}", ca)
            read(upgraded.socket, upgraded.leftover, len(HELLO))
            stream = open_stream(upgraded.socket)
            data = b"any bytes"
            sent = stream.send_now(data)
            stream.sendall(data[sent:])
            assert stream.recv(100) == data
            stream.close()

    def test_over_tls_with_password(self, targets: Any, ca: Authority) -> None:
        identity = ca.issue("localhost")
        with squid("basic", tls=(identity.cert, identity.key)) as port:
            succeeds(targets(), f"https://{IN_URL}@localhost:{port}", ca)

    def test_a_destination_that_refuses(self) -> None:
        with squid() as port, socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            error = failure(f"ws://127.0.0.1:{bound.getsockname()[1]}/", f"http://127.0.0.1:{port}")
        assert isinstance(error, ProxyRefused) and error.http_status == 503
        assert "it cannot reach the host" in str(error)

    def test_ntlm(self, targets: Any, ca: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
        with (
            public_directory() as directory,
            ntlm_helper(directory, "DOMAIN\\user", "right", monkeypatch) as auth,
            squid(auth) as port,
        ):
            succeeds(targets(), f"http://DOMAIN%5Cuser:right@127.0.0.1:{port}", ca)
            error = failure(targets()[0], f"http://DOMAIN%5Cuser:SECRET@127.0.0.1:{port}", ca)
        assert isinstance(error, ProxyRefused) and error.http_status == 407
        assert "are user and password right?" in str(error)


class TestTinyproxy:
    def test_without_password(self, targets: Any, ca: Authority) -> None:
        with tinyproxy() as port:
            succeeds(targets("localhost"), f"http://127.0.0.1:{port}", ca)

    def test_with_password(self, targets: Any, ca: Authority) -> None:
        with tinyproxy(password=True) as port:
            succeeds(targets(), f"http://user:secret@127.0.0.1:{port}", ca)
            wrong = failure(targets()[0], f"http://user:SECRET@127.0.0.1:{port}", ca)
            missing = failure(targets()[0], f"http://127.0.0.1:{port}", ca)
        assert isinstance(wrong, ProxyRefused) and "401 Unauthorized: are user and password right?" in str(wrong)
        assert isinstance(missing, ProxyRefused) and missing.http_status == 407

    def test_a_port_that_it_does_not_allow(self, targets: Any, ca: Authority) -> None:
        with tinyproxy(connect_port=443) as port:
            error = failure(targets()[0], f"http://127.0.0.1:{port}", ca)
        assert isinstance(error, ProxyRefused) and error.http_status == 403
        assert "Access violation: does it allow CONNECT to this host and port?" in str(error)


class TestSocks:
    @pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
    def test_danted_without_password(self, targets: Any, ca: Authority, scheme: str) -> None:
        with danted() as port:
            succeeds(targets("localhost"), f"{scheme}://127.0.0.1:{port}", ca)
            succeeds(targets(), f"{scheme}://127.0.0.1:{port}", ca)
            succeeds(targets(), f"{scheme}://not:asked@127.0.0.1:{port}", ca)

    def test_danted_reports_a_destination_that_refuses(self) -> None:
        with danted() as port, socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            error = failure(f"ws://127.0.0.1:{bound.getsockname()[1]}/", f"socks5://127.0.0.1:{port}")
        assert isinstance(error, ProxyRefused)
        assert "the host refused the connection" in str(error)

    def test_microsocks_with_password(self, targets: Any, ca: Authority) -> None:
        with microsocks("ü ser", PASSWORD) as port:
            password = IN_URL.partition(":")[2]
            succeeds(targets("localhost"), f"socks5://%C3%BC%20ser:{password}@127.0.0.1:{port}", ca)
            wrong = failure(targets()[0], f"socks5://user:SECRET@127.0.0.1:{port}", ca)
            missing = failure(targets()[0], f"socks5://127.0.0.1:{port}", ca)
        assert isinstance(wrong, ProxyRefused) and "are user and password right?" in str(wrong)
        assert isinstance(missing, ProxyRefused) and "it requires a user and password" in str(missing)

    def test_addresses_are_sent_as_such_and_names_as_names(self) -> None:
        requests = []

        def handle(sock: Socket) -> None:
            sock.recv(3)
            sock.sendall(b"\x05\x00")
            requests.append(sock.recv(300))
            sock.sendall(b"\x05\x02\x00\x01\0\0\0\0\0\0")

        with scripted_server(handle) as port:
            for host in ("192.0.2.1", "[2001:db8::1]", "hub.example"):
                assert "it does not allow this connection" in str(
                    failure(f"ws://{host}:80/", f"socks5://127.0.0.1:{port}")
                )
        assert [request.hex() for request in requests] == [
            "05010001c00002010050",
            "0501000420010db80000000000000000000000010050",
            "050100030b" + b"hub.example".hex() + "0050",
        ]

    @pytest.mark.parametrize("bound", ["03" + "04" + b"name".hex(), "04" + "00" * 16, "01" + "00" * 4])
    def test_the_first_bytes_of_the_destination_are_not_lost(self, bound: str) -> None:
        """They may come in one piece with the answer of the proxy; the WebSocket's answer stands for them here."""

        def handle(sock: Socket) -> None:
            sock.recv(3)
            sock.sendall(b"\x05\x00")
            sock.recv(300)
            sock.sendall(bytes.fromhex("050000" + bound + "0000") + b"HTTP/1.1 418 Teapot\r\n\r\n")

        with scripted_server(handle) as port:
            assert "418 Teapot" in str(failure("ws://hub.example/", f"socks5://127.0.0.1:{port}"))

    @pytest.mark.parametrize(
        "answers, said",
        [
            (b"", "closed the connection in the middle"),
            (b"\x05", "closed the connection in the middle"),
            (b"HTTP/1.1 400 Bad\r\n", "does not speak SOCKS5: is it an HTTP proxy"),
            (b"\x04\x00", "does not speak SOCKS5"),
            (b"\x05\xff", "it requires a user and password"),
            (b"\x05\x00\x05\x63\x00\x01", "reply 99"),
            (b"\x05\x00\x05\x00\x00\x01\x00", "closed the connection in the middle"),
        ],
    )
    def test_what_is_no_socks_server(self, answers: bytes, said: str) -> None:
        def handle(sock: Socket) -> None:
            sock.recv(3)
            sock.sendall(answers)
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(300):
                pass

        with scripted_server(handle) as port:
            assert said in str(failure("ws://hub.example/", f"socks5://127.0.0.1:{port}"))

    def test_a_name_too_long(self) -> None:
        with danted() as port:
            assert "too long for SOCKS" in str(failure(f"ws://{'x.' * 130}example/", f"socks5://127.0.0.1:{port}"))


class TestOtherProxies:
    def test_none_is_there(self) -> None:
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            port = bound.getsockname()[1]
            text = str(failure("ws://hub.example/", f"http://user:SECRET@127.0.0.1:{port}"))
        assert text == (
            f"cannot reach the proxy http://127.0.0.1:{port}: cannot connect to 127.0.0.1:{port}: Connection refused"
        )

    @pytest.mark.parametrize(
        "raw, said",
        [
            (b"HTTP/1.1 407 \x1b[31mNo\r\n\r\n", "does not speak HTTP"),
            (b"HTTP/1.1 407 No\r\nContent-Length: 9\r\n\r\n\x1b[31mwho\x00", "407 No: [31mwho: it requires a user"),
            (b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1", "sent unexpected bytes"),
            (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", "502 Bad Gateway: it cannot reach the host"),
            (b"HTTP/1.1 302 Found\r\nLocation: http://login/\r\nContent-Length: 0\r\n\r\n", "302 Found"),
        ],
    )
    def test_odd_answers(self, raw: bytes, said: str) -> None:
        with scripted_server(saying(raw)) as port:
            assert said in str(failure("ws://hub.example/", f"http://127.0.0.1:{port}"))

    def test_a_login_that_we_do_not_have(self) -> None:
        raw = b"HTTP/1.1 407 Who\r\nProxy-Authenticate: Negotiate\r\nContent-Length: 0\r\n\r\n"
        with scripted_server(saying(raw)) as port:
            text = str(failure("ws://hub.example/", f"http://user:SECRET@127.0.0.1:{port}"))
        assert "it accepts only negotiate" in text

    def test_ntlm_without_the_package_names_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "spnego", None)
        raw = b"HTTP/1.1 407 Who\r\nProxy-Authenticate: NTLM\r\nContent-Length: 0\r\n\r\n"
        with scripted_server(saying(raw)) as port:
            text = str(failure("ws://hub.example/", f"http://user:SECRET@127.0.0.1:{port}"))
        assert "pip install 'hubble-tunnel[ntlm]'" in text

    def test_the_password_is_not_sent_before_it_is_asked_for(self) -> None:
        seen = []

        def handle(sock: Socket) -> None:
            seen.append(sock.recv(65536))
            sock.sendall(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")

        with scripted_server(handle) as port:
            failure("ws://hub.example/", f"http://user:SECRET@127.0.0.1:{port}")
        (request,) = seen
        assert b"Proxy-Authorization" not in request
        assert request.startswith(b"CONNECT hub.example:80 HTTP/1.1\r\nHost: hub.example:80\r\n")

    @pytest.mark.parametrize("scheme", ["http", "https", "socks5"])
    def test_a_proxy_that_is_silent_or_drips(self, scheme: str) -> None:
        def drip(sock: Socket) -> None:
            while True:
                sock.sendall(b"")
                gevent.sleep(0.02)

        started = time.monotonic()
        with scripted_server(drip) as port:
            proxy = f"{scheme}://127.0.0.1:{port}"
            text = str(failure("ws://hub.example/", proxy, handshake_timeout=0.3))
        assert text == f"the proxy {proxy} did not answer within 0.3 s: is its scheme right?"
        assert time.monotonic() - started < 5

    def test_the_time_is_bounded_although_bytes_come(self) -> None:
        def drip(sock: Socket) -> None:
            sock.sendall(b"HTTP/1.1 200 OK\r\nX: ")
            while True:
                sock.sendall(b"x")
                gevent.sleep(0.02)

        with scripted_server(drip) as port:
            text = str(failure("ws://hub.example/", f"http://127.0.0.1:{port}", handshake_timeout=0.3))
        assert "did not answer within 0.3 s" in text

    def test_the_wrong_scheme(self, ca: Authority) -> None:
        with upgrading_server(ServerTLS(*_files(ca))) as server, tinyproxy() as http:
            plain_to_tls = failure("ws://hub.example/", f"http://127.0.0.1:{server.port}")
            tls_to_plain = failure("ws://hub.example/", f"https://127.0.0.1:{http}", ca, handshake_timeout=0.5)
        assert "https://" in str(plain_to_tls)
        assert "is its scheme right?" in str(tls_to_plain)


def _files(ca: Authority) -> tuple[str, str]:
    identity = ca.issue("localhost")
    return identity.cert, identity.key


class TestChallenges:
    @pytest.mark.parametrize(
        "headers, expected",
        [
            ([], []),
            (['Basic realm="a, b"'], [Challenge("basic", {"realm": "a, b"})]),
            (["NTLM", "Negotiate"], [Challenge("ntlm"), Challenge("negotiate")]),
            (["NTLM TlRMTQ=="], [Challenge("ntlm", token="TlRMTQ==")]),
            (
                ['Negotiate, DIGEST Realm="x \\"y\\"", nonce="a=b==", qop="auth,auth-int", stale=false, Basic realm=z'],
                [
                    Challenge("negotiate"),
                    Challenge("digest", {"realm": 'x "y"', "nonce": "a=b==", "qop": "auth,auth-int", "stale": "false"}),
                    Challenge("basic", {"realm": "z"}),
                ],
            ),
            (["", ",,", "="], []),
        ],
    )
    def test_parsing(self, headers: list[str], expected: list[Challenge]) -> None:
        assert parse_challenges(headers) == expected

    @pytest.mark.parametrize(
        "algorithm, response",
        [
            ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
            ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ],
    )
    def test_digest_as_in_rfc_7616_section_3_9_1(self, algorithm: str, response: str) -> None:
        challenge = {
            "realm": "http-auth@example.org",
            "qop": "auth, auth-int",
            "algorithm": algorithm,
            "nonce": "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
            "opaque": "FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS",
        }
        cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
        header = digest(challenge, "GET", "/dir/index.html", Credentials("Mufasa", "Circle of Life"), cnonce)
        assert header is not None
        (found,) = parse_challenges([header])
        assert found.parameters == {
            "username": "Mufasa",
            "realm": challenge["realm"],
            "uri": "/dir/index.html",
            "algorithm": algorithm,
            "nonce": challenge["nonce"],
            "nc": "00000001",
            "cnonce": cnonce,
            "qop": "auth",
            "response": response,
            "opaque": challenge["opaque"],
        }

    def test_digest_as_in_rfc_2617_without_qop(self) -> None:
        """The values of RFC 2069, section 2.4, as corrected by its erratum 749."""
        challenge = {"realm": "testrealm@host.com", "nonce": "dcd98b7102dd2f0e8b11d0f600bfb0c093"}
        header = digest(challenge, "GET", "/dir/index.html", Credentials("Mufasa", "CircleOfLife"), "x")
        assert header is not None and 'response="1949323746fe6a43ef61f9606e7febea"' in header

    @pytest.mark.parametrize("challenge", [{"algorithm": "SHA-1000"}, {"qop": "auth-int"}])
    def test_a_digest_that_we_do_not_have(self, challenge: dict[str, str]) -> None:
        assert digest(challenge, "GET", "/", Credentials("a", "b"), "x") is None
        offers = [Challenge("digest", challenge), Challenge("basic")]
        assert answer(offers, Credentials("a", "b"), "h:1") == "Basic YTpi"

    def test_digest_goes_before_basic_whatever_their_order(self) -> None:
        offers = [Challenge("basic"), Challenge("digest", {"realm": "r", "nonce": "n"})]
        header = answer(offers, Credentials("us\\er", "b"), "h:1")
        assert header is not None and header.startswith('Digest username="us\\\\er"')

    def test_no_challenge_that_we_have(self) -> None:
        assert answer([Challenge("negotiate")], Credentials("a", "b"), "h:1") is None
