"""What requests that are no links' get. curl and http.client ask; the site behind is a server of pywsgi's."""

from __future__ import annotations

import hashlib
import http.client
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from gevent.pywsgi import WSGIServer

from hubble.base.errors import LinkClosed, UsageError
from hubble.proxy.http import fallback as fallback_module
from hubble.proxy.http.app import Application, Environ, WSGIApplication
from hubble.proxy.http.fallback import Site, parse_fallback
from hubble.transport.dial.dial import DialOptions, UpgradeRefused, open_websocket, parse_url
from hubble.transport.link import Link
from hubble.transport.listen import open_listener
from hubble.transport.serve.fronts import FrontServers, parse_networks
from hubble.transport.serve.server import LinkServer, ServerOptions
from tests.support.programs import require
from tests.support.wsserver import saying, scripted_server

LARGE = bytes(range(256)) * 20_000


class Web:
    """The site: remembers the requests, and answers as the test says."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.bodies: list[bytes] = []
        self.status = "200 OK"
        self.headers = [("Content-Type", "text/html"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]
        self.answer: list[bytes] = [b"the site"]
        self._server = WSGIServer(("127.0.0.1", 0), self._serve, log=None)
        self._server.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def _serve(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
        self.requests.append(environ)
        self.bodies.append(environ["wsgi.input"].read())
        start_response(self.status, self.headers)
        yield from self.answer

    def stop(self) -> None:
        self._server.stop(timeout=0)


@pytest.fixture
def web() -> Iterator[Web]:
    web = Web()
    yield web
    web.stop()


@contextmanager
def proxy(fallback: WSGIApplication | None, path: str = "/hubble", **options: Any) -> Iterator[int]:
    """The port of a proxy that opens links at `path`, and ends them at once."""

    def serve(link: Link, environ: Environ) -> None:
        link.close()
        with pytest.raises(LinkClosed):
            list(link.messages())

    application = Application(serve, path=path, fallback=fallback)
    server = LinkServer(open_listener("127.0.0.1", 0), application, ServerOptions(path=path, **options))
    server.start()
    try:
        yield server.server_port
    finally:
        server.stop(timeout=0)


def ask(
    port: int, method: str = "GET", path: str = "/", body: Any = None, headers: dict[str, str] | None = None
) -> tuple[int, http.client.HTTPMessage, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, path, body, headers or {})
    response = connection.getresponse()
    data = response.read()
    connection.close()
    return response.status, response.headers, data


class TestWithout:
    def test_without_a_path_a_browser_gets_an_explanation(self) -> None:
        with proxy(None, path="") as port:
            status, headers, body = ask(port, path="/anything")
        assert (status, headers["Upgrade"]) == (426, "websocket")
        assert b"Hubble" in body

    def test_outside_of_the_path_there_is_nothing(self) -> None:
        with proxy(None) as port:
            assert ask(port, path="/hubble")[0] == 426
            assert ask(port, path="/hubbles")[0] == 404

    @pytest.mark.parametrize("path", ["/hubble", "/", "/healthz", "/index.html"])
    def test_404_says_nothing_of_hubble(self, path: str) -> None:
        with proxy(parse_fallback("404")) as port:
            status, headers, body = ask(port, path=path)
        assert status == 404
        assert b"ubble" not in body + str(headers).encode()

    def test_health_checks_are_below_the_path(self) -> None:
        with proxy(parse_fallback("404")) as port:
            assert ask(port, path="/hubble/healthz")[2] == b"ok\n"
            assert ask(port, path="/hubble/readyz")[0] == 200


class TestSite:
    def test_a_page(self, web: Web) -> None:
        with proxy(Site(web.url)) as port:
            status, headers, body = ask(port, path="/a%2Fb/../c?d=e%20f&g", headers={"Host": "hubble.example"})
        assert (status, body) == (200, b"the site")
        assert headers.get_all("Set-Cookie") == ["a=1", "b=2"]
        (request,) = web.requests
        assert (request["REQUEST_METHOD"], request["QUERY_STRING"]) == ("GET", "d=e%20f&g")
        assert request["PATH_INFO"] == "/a/b/../c"  # as it was sent, but for pywsgi's own decoding
        assert request["HTTP_HOST"] == "hubble.example"

    def test_the_site_gets_the_clients_address(self, web: Web) -> None:
        with proxy(Site(web.url)) as port:
            ask(port, headers={"X-Forwarded-For": "192.0.2.1", "X-Forwarded-Proto": "https", "Forwarded": "for=x"})
        (request,) = web.requests
        assert request["HTTP_X_FORWARDED_FOR"] == "127.0.0.1"
        assert request["HTTP_X_FORWARDED_PROTO"] == "http"
        assert "HTTP_FORWARDED" not in request

    def test_also_behind_a_front_server(self, web: Web) -> None:
        fronts = FrontServers(parse_networks(["127.0.0.1"]))
        with proxy(Site(web.url), fronts=fronts) as port:
            ask(port, headers={"X-Forwarded-For": "192.0.2.1", "X-Forwarded-Proto": "https"})
        (request,) = web.requests
        assert request["HTTP_X_FORWARDED_FOR"] == "192.0.2.1"
        assert request["HTTP_X_FORWARDED_PROTO"] == "https"

    def test_a_prefix_of_the_site_s(self, web: Web) -> None:
        with proxy(Site(f"{web.url}/below/")) as port:
            ask(port, path="/page")
        assert web.requests[0]["PATH_INFO"] == "/below/page"

    def test_what_belongs_to_one_connection_is_not_passed_on(self, web: Web) -> None:
        web.headers = [("Keep-Alive", "timeout=5"), ("X-Own", "1"), ("Connection", "X-Own"), ("X-Other", "2")]
        sent = {"Connection": "keep-alive, X-Mine", "X-Mine": "1", "TE": "trailers", "Upgrade": "h2c", "X-Yours": "2"}
        with proxy(Site(web.url)) as port:
            _, headers, _ = ask(port, headers=sent)
        (request,) = web.requests
        assert request["HTTP_X_YOURS"] == "2"
        assert not {"HTTP_X_MINE", "HTTP_TE", "HTTP_UPGRADE"} & set(request)
        assert headers["X-Other"] == "2"
        assert not {"X-Own", "Keep-Alive"} & set(headers)

    def test_no_headers_are_added_to_the_request(self, web: Web) -> None:
        with proxy(Site(web.url)) as port:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            connection.putrequest("GET", "/", skip_accept_encoding=True)
            connection.endheaders()
            connection.getresponse().read()
            connection.close()
        assert not {"HTTP_USER_AGENT", "HTTP_ACCEPT_ENCODING"} & set(web.requests[0])

    @pytest.mark.parametrize("how", ["length", "chunked"])
    def test_an_upload(self, web: Web, how: str) -> None:
        pieces = [LARGE[start : start + 100_000] for start in range(0, len(LARGE), 100_000)]
        with proxy(Site(web.url)) as port:
            ask(port, "POST", body=LARGE if how == "length" else iter(pieces), headers={"Content-Type": "x/y"})
        assert web.bodies == [LARGE]
        assert web.requests[0]["CONTENT_TYPE"] == "x/y"

    @pytest.mark.parametrize("how", ["length", "chunked"])
    def test_a_download(self, web: Web, how: str) -> None:
        web.headers = [("Content-Length", str(len(LARGE)))] if how == "length" else []
        web.answer = [LARGE[start : start + 100_000] for start in range(0, len(LARGE), 100_000)]
        with proxy(Site(web.url)) as port:
            _, headers, body = ask(port)
        assert hashlib.sha256(body).digest() == hashlib.sha256(LARGE).digest()
        assert headers.get("Content-Length") == (str(len(LARGE)) if how == "length" else None)

    def test_what_is_compressed_stays_so(self, web: Web) -> None:
        web.headers = [("Content-Encoding", "gzip")]
        web.answer = [b"not really gzip"]
        with proxy(Site(web.url)) as port:
            _, headers, body = ask(port, headers={"Accept-Encoding": "gzip"})
        assert (headers["Content-Encoding"], body) == ("gzip", b"not really gzip")

    @pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified", "302 Found", "404 Not Found"])
    def test_answers_of_all_kinds(self, web: Web, status: str) -> None:
        web.status, web.headers, web.answer = status, [("Location", "http://elsewhere.example/")], []
        with proxy(Site(web.url)) as port:
            got, headers, body = ask(port)
        assert (got, headers["Location"], body) == (int(status[:3]), "http://elsewhere.example/", b"")

    def test_a_304_that_tells_the_length(self) -> None:
        answer = b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n"
        with scripted_server(saying(answer)) as site, proxy(Site(f"http://127.0.0.1:{site}")) as port:
            assert ask(port)[0] == 304

    def test_head_and_then_another_request_on_the_same_connection(self, web: Web) -> None:
        web.headers = [("Content-Length", "8")]
        with proxy(Site(web.url)) as port:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            connection.request("HEAD", "/")
            response = connection.getresponse()
            assert (response.headers["Content-Length"], response.read()) == ("8", b"")
            connection.request("GET", "/")
            assert connection.getresponse().read() == b"the site"
            connection.close()

    @pytest.mark.parametrize("line", ["OPTIONS *", "GET http://127.0.0.1/", "GET @127.0.0.1/"])
    def test_it_is_no_proxy_to_elsewhere(self, web: Web, line: str) -> None:
        method, _, path = line.partition(" ")
        with proxy(Site(web.url)) as port:
            assert ask(port, method, path)[0] == 404
        assert web.requests == []

    def test_a_site_that_is_away(self, caplog: pytest.LogCaptureFixture) -> None:
        with scripted_server(lambda sock: None) as port:
            pass
        with proxy(Site(f"http://127.0.0.1:{port}")) as port:
            assert ask(port)[0] == 502
        assert "did not respond" in caplog.text

    def test_a_site_that_says_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(fallback_module, "EXCHANGE_TIMEOUT", 0.2)
        with scripted_server(saying(b"")) as site, proxy(Site(f"http://127.0.0.1:{site}")) as port:
            assert ask(port)[0] == 502

    @pytest.mark.parametrize(
        "how", ["Content-Length: 10\r\n\r\nhalf", "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"]
    )
    def test_an_answer_cut_short_is_not_taken_for_whole(self, how: str, capfd: pytest.CaptureFixture[str]) -> None:
        def handle(sock: Any) -> None:
            sock.recv(65536)
            sock.sendall(f"HTTP/1.1 200 OK\r\n{how}".encode())

        with (
            scripted_server(handle) as site,
            proxy(Site(f"http://127.0.0.1:{site}")) as port,
            pytest.raises(http.client.IncompleteRead),
        ):
            ask(port)
        assert "Traceback" not in capfd.readouterr().err

    def test_curl_and_an_agent_on_one_port(self, web: Web, tmp_path: Path) -> None:
        web.answer = [LARGE]
        with proxy(Site(web.url)) as port:
            got = tmp_path / "got"
            for _ in range(3):
                target = parse_url(f"ws://127.0.0.1:{port}/hubble")
                open_websocket(target, DialOptions(proxy="none")).socket.close()
                command = [require("curl"), "-sSf", "-o", str(got), f"http://127.0.0.1:{port}/page"]
                subprocess.run(command, check=True, timeout=30)
                assert got.read_bytes() == LARGE

    def test_other_websockets_are_not_relayed(self, web: Web) -> None:
        with proxy(Site(web.url)) as port, pytest.raises(UpgradeRefused):
            open_websocket(parse_url(f"ws://127.0.0.1:{port}/chat"), DialOptions(proxy="none"))
        assert "HTTP_UPGRADE" not in web.requests[0]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "403",
        "ftp://x",
        "http://",
        "http://user:pass@x",
        "http://x:port",
        "http://x/?a=b",
        "http://x/#a",
        "http://x\n",
    ],
)
def test_invalid_fallbacks_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="invalid fallback"):
        parse_fallback(text)
