"""What a server makes of front servers, client certificates and paths; the upgrade itself is in test_server.py."""

from __future__ import annotations

import json
import logging
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gevent
import pytest
from gevent import socket

from hubble.transport.addresses import Socket, connect
from hubble.transport.dial.dial import DialOptions, UpgradeRefused, open_websocket, parse_url
from hubble.transport.listen import open_listener
from hubble.transport.serve import server as server_module
from hubble.transport.serve.fronts import FrontServers, parse_networks
from hubble.transport.serve.server import LINK, SUBJECT, LinkServer, ServerOptions
from hubble.transport.serve.servertls import ServerTLS
from hubble.transport.tls import TLSOptions, client_context
from tests.support.certificates import Authority
from tests.support.pairs import PATIENCE

LOCAL = parse_networks(["127.0.0.0/8", "::1"])
CLIENT = b"PROXY TCP4 192.0.2.1 192.0.2.9 4711 443\r\n"
TOLD = ("REMOTE_ADDR", "REMOTE_PORT", SUBJECT, "HTTP_FORWARDED", "HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_PROTO")


def tell(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """Answers what the server knows of a request; has a link, and closes it."""
    environ.pop(LINK, None)
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({key: environ[key] for key in TOLD if key in environ}).encode()]


@contextmanager
def serving(options: ServerOptions, host: str = "127.0.0.1") -> Iterator[int]:
    server = LinkServer(open_listener(host, 0), tell, options)
    server.start()
    try:
        yield server.server_port
    finally:
        server.stop(timeout=0)


def trusting(**options: Any) -> ServerOptions:
    return ServerOptions(fronts=FrontServers(LOCAL, **options))


def get(sock: Socket, *headers: str) -> tuple[int, bytes]:
    """The status and the body of the answer to a GET on `sock`."""
    lines = ["GET / HTTP/1.1", "Host: x", "Connection: close", *headers, "", ""]
    sock.sendall("\r\n".join(lines).encode("latin-1"))
    answer = b""
    while data := sock.recv(65536):
        answer += data
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


def told(port: int, *headers: str, first: bytes = b"", host: str = "127.0.0.1") -> dict[str, str]:
    """What the server knows of a request that follows `first` on its connection."""
    with connect(host, port, PATIENCE) as sock:
        sock.sendall(first)
        status, body = get(sock, *headers)
    assert status == 200
    result: dict[str, str] = json.loads(body)
    return result


class TestForwardingHeaders:
    def test_of_a_trusted_front_server_they_count(self) -> None:
        with serving(trusting()) as port:
            assert told(port, "X-Forwarded-For: 192.0.2.1")["REMOTE_ADDR"] == "192.0.2.1"
            assert told(port, "X-Forwarded-Proto: https")["HTTP_X_FORWARDED_PROTO"] == "https"

    def test_of_anybody_else_nothing_is_told(self) -> None:
        with serving(ServerOptions()) as port:
            headers = ("X-Forwarded-For: 192.0.2.1", "Forwarded: for=192.0.2.1", "X-Forwarded-Proto: https")
            assert told(port, *headers) | {"REMOTE_PORT": "?"} == {
                "REMOTE_ADDR": "127.0.0.1",
                "REMOTE_PORT": "?",
                SUBJECT: "",
            }

    def test_several_headers_are_one_list(self) -> None:
        with serving(trusting()) as port:
            headers = ("X-Forwarded-For: 127.0.0.1", "X-Forwarded-For: 192.0.2.1", "X-Forwarded-For: 127.0.0.2")
            assert told(port, *headers)["REMOTE_ADDR"] == "192.0.2.1"

    def test_a_header_with_underscores_is_another(self) -> None:
        with serving(trusting()) as port:
            assert told(port, "X_Forwarded_For: 192.0.2.1")["REMOTE_ADDR"] == "127.0.0.1"

    @pytest.mark.parametrize("upgrade", [(), ("Upgrade: websocket", "Sec-WebSocket-Version: 13")])
    def test_what_cannot_be_believed_is_refused(
        self, caplog: pytest.LogCaptureFixture, upgrade: tuple[str, ...]
    ) -> None:
        with serving(trusting()) as port, connect("127.0.0.1", port, PATIENCE) as sock:
            status, body = get(sock, "X-Forwarded-For: 192.0.2.1", "Forwarded: for=192.0.2.2", *upgrade)
        assert status == 400
        assert b"name different clients" in body
        assert "refused a request from 127.0.0.1: X-Forwarded-For and Forwarded name" in caplog.text

    def test_over_ipv6(self) -> None:
        with serving(trusting(), "::1") as port:
            assert told(port, 'Forwarded: for="[2001:db8::1]:4711"', host="::1")["REMOTE_ADDR"] == "2001:db8::1"

    def test_an_ipv4_client_of_an_ipv6_listener_has_its_ipv4_address(self) -> None:
        with serving(trusting(), "") as port:
            assert told(port)["REMOTE_ADDR"] == "127.0.0.1"
            assert told(port, "X-Forwarded-For: 192.0.2.1")["REMOTE_ADDR"] == "192.0.2.1"


class TestProxyProtocol:
    def test_the_header_says_who_the_client_is(self) -> None:
        with serving(trusting(proxy_protocol=True)) as port:
            client = told(port, first=CLIENT)
        assert (client["REMOTE_ADDR"], client["REMOTE_PORT"]) == ("192.0.2.1", "4711")

    def test_a_front_server_that_speaks_for_itself(self) -> None:
        with serving(trusting(proxy_protocol=True)) as port:
            assert told(port, first=b"PROXY UNKNOWN\r\n")["REMOTE_ADDR"] == "127.0.0.1"

    def test_a_client_behind_it_is_not_believed_what_only_front_servers_may_say(self) -> None:
        with serving(trusting(proxy_protocol=True)) as port:
            assert told(port, "X-Forwarded-For: 192.0.2.2", first=CLIENT)["REMOTE_ADDR"] == "192.0.2.1"

    def test_two_front_servers_in_a_row(self) -> None:
        inner = CLIENT.replace(b"192.0.2.1", b"127.0.0.5")
        with serving(trusting(proxy_protocol=True)) as port:
            assert told(port, "X-Forwarded-For: 192.0.2.2", first=inner)["REMOTE_ADDR"] == "192.0.2.2"

    def test_before_tls(self, ca: Authority) -> None:
        identity = ca.issue("localhost")
        options = ServerOptions(tls=ServerTLS(identity.cert, identity.key), fronts=FrontServers(LOCAL, True))
        with serving(options) as port, connect("127.0.0.1", port, PATIENCE) as sock:
            sock.sendall(CLIENT)
            context = client_context(TLSOptions(ca_file=ca.file))
            with context.wrap_socket(sock, server_hostname="localhost") as wrapped:
                status, body = get(wrapped)
        assert status == 200
        assert json.loads(body)["REMOTE_ADDR"] == "192.0.2.1"

    @pytest.mark.parametrize("sent", [b"GET / HTTP/1.1\r\n\r\n", b"PROXY TCP4 x y 1 2\r\n", b"\x16\x03\x01"])
    def test_who_must_send_it_and_does_not_gets_no_answer(
        self, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], sent: bytes
    ) -> None:
        caplog.set_level(logging.INFO, "hubble.transport.serve")
        with serving(trusting(proxy_protocol=True)) as port, connect("127.0.0.1", port, PATIENCE) as sock:
            sock.sendall(sent)
            sock.shutdown(socket.SHUT_WR)
            with gevent.Timeout(PATIENCE):
                assert _read_to_end(sock) == b""
        assert len(caplog.records) == 1
        assert "PROXY protocol" in caplog.text
        assert "Traceback" not in capfd.readouterr().err

    def test_it_has_a_deadline(self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
        monkeypatch.setattr(server_module, "HEAD_TIMEOUT", 0.1)
        caplog.set_level(logging.INFO, "hubble.transport.serve")
        with serving(trusting(proxy_protocol=True)) as port, connect("127.0.0.1", port, PATIENCE) as sock:
            sock.sendall(CLIENT[:20])
            assert _read_to_end(sock) == b""
        assert "it sent no PROXY protocol header in time" in caplog.text

    def test_others_do_without(self) -> None:
        options = ServerOptions(fronts=FrontServers(parse_networks(["192.0.2.0/24"]), proxy_protocol=True))
        with serving(options) as port:
            assert told(port)["REMOTE_ADDR"] == "127.0.0.1"
            with connect("127.0.0.1", port, PATIENCE) as sock:
                sock.sendall(CLIENT)
                assert get(sock)[0] == 400  # to HTTP it is a malformed request


class TestClientCertificate:
    def test_its_subject_is_told(self, ca: Authority) -> None:
        me, identity = ca.issue("a@example.com", common_name="agent1"), ca.issue("localhost")
        options = ServerOptions(tls=ServerTLS(identity.cert, identity.key, ca.file))
        shown = TLSOptions(ca_file=ca.file, cert_file=me.cert, key_file=me.key)
        with serving(options) as port:
            for tls, subject in ((shown, "CN=agent1"), (TLSOptions(ca_file=ca.file), "")):
                with connect("127.0.0.1", port, PATIENCE) as sock:
                    context: ssl.SSLContext = client_context(tls)
                    with context.wrap_socket(sock, server_hostname="localhost") as wrapped:
                        _, body = get(wrapped)
                assert json.loads(body)[SUBJECT].split(",")[0] == subject


class TestPath:
    @pytest.mark.parametrize("path", ["/hubble", "/hubble/", "/hubble/eu?x=/"])
    def test_links_are_opened_there_and_below(self, path: str) -> None:
        with serving(ServerOptions(path="/hubble")) as port:
            target = parse_url(f"ws://127.0.0.1:{port}{path}")
            open_websocket(target, DialOptions(proxy="none")).socket.close()

    @pytest.mark.parametrize("path", ["/", "/hubbles", "/other?x=/hubble", "/x/hubble"])
    def test_elsewhere_the_application_answers(self, path: str) -> None:
        with serving(ServerOptions(path="/hubble")) as port:
            target = parse_url(f"ws://127.0.0.1:{port}{path}")
            with pytest.raises(UpgradeRefused) as caught:
                open_websocket(target, DialOptions(proxy="none"))
        assert caught.value.http_status == 200


def _read_to_end(sock: Socket) -> bytes:
    data = b""
    try:
        while more := sock.recv(65536):
            data += more
    except ConnectionResetError:  # it had more to read when it closed
        pass
    return data
