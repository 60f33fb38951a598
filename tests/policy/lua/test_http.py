"""The module http, as scripts for the original know it, against real servers."""

from __future__ import annotations

import gzip
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import gevent
import pytest

from hubble.base.errors import UsageError
from hubble.policy.lua import connections
from hubble.policy.lua.host import FIELD_BYTES, FIELDS
from hubble.policy.lua.http import HttpClient, HttpFailure, HttpRequest, parse_duration
from hubble.policy.lua.urls import MAX_URL, parse_url
from tests.policy.lua.conftest import Decide, Make
from tests.support.certificates import Authority
from tests.support.httpservers import Answer, HttpServer, Received, dripping, refusing, serving

HTTP = 'local http = require("http")'


def echo(request: Received) -> Answer | int:
    fields = [("Content-Type", "text/plain"), ("X-Twice", "one"), ("X-Twice", "two"), ("etag", "x")]
    if request.path == "/cookies":
        cookies = ["a=1; Path=/elsewhere; Secure", 'b="two"', "gone=; Max-Age=0"]
        return 200, [("Set-Cookie", cookie) for cookie in cookies], b""
    if request.path.startswith("/status/"):
        return int(request.path.rpartition("/")[2])
    if request.path == "/redirect":
        return 302, [("Location", "/landed?x=1")], b"moved"
    if request.path == "/around":
        return 302, [("Location", "/around")], b""
    if request.path == "/gzip":
        return 200, [("Content-Encoding", "gzip")], gzip.compress(b"unpacked" * 1000)
    if request.path == "/bytes":
        return 200, fields, bytes(range(256))
    return 200, fields, b"hello"


@pytest.fixture
def server() -> Iterator[HttpServer]:
    with serving(echo) as running:
        yield running


@pytest.fixture
def fetch(decide: Decide, server: HttpServer) -> Callable[..., str]:
    """Runs Lua with `http` and `url`; returns the text of an expression on the results `r` and `wrong`."""

    def result(call: str, expression: str, /, **options: object) -> str:
        decision = decide(
            f'{HTTP} local url = "{server.url}" local r, wrong = {call}\n'
            f"return true, {{ detail = tostring({expression}) }}",
            **options,
        )
        return decision.detail

    return result


class TestResponse:
    def test_fields(self, fetch: Callable[..., str]) -> None:
        call = 'http.get(url .. "/x?y=1")'
        assert fetch(call, "type(r.status_code) .. r.status_code") == "number200"
        assert fetch(call, "r.body .. type(r.body_size) .. r.body_size") == "hellonumber5"
        assert fetch(call, 'r.url == url .. "/x?y=1"') == "true"
        assert fetch(call, "r.unknown") == "nil"
        assert fetch(call, "wrong") == "nil"

    def test_success_is_one_value(self, fetch: Callable[..., str]) -> None:
        assert fetch('select("#", http.get(url))', "r") == "1"

    def test_failure_is_nil_and_a_message(self, fetch: Callable[..., str]) -> None:
        with refusing() as url:
            call = f'http.get("{url}/path?key=secret")'
            assert fetch(f"nil, select('#', {call})", "wrong") == "2"
            assert fetch(call, "r") == "nil"
            assert fetch(call, "wrong") == f'Get "{url}/path": connection refused'

    @pytest.mark.parametrize("status", [400, 404, 500, 503])
    def test_an_error_status_is_a_success(self, fetch: Callable[..., str], status: int) -> None:
        end = fetch(f'http.get(url .. ("x"):rep({MAX_URL}))', "wrong:sub(-40)")
        assert end.endswith(f"the URL has more than {MAX_URL} bytes")

    def test_headers_are_canonical_and_single(self, fetch: Callable[..., str]) -> None:
        assert fetch("http.get(url)", 'r.headers["Content-Type"] .. r.headers["X-Twice"] .. r.headers.Etag') == (
            "text/plainonex"
        )
        assert fetch("http.get(url)", 'r.headers["content-type"]') == "nil"

    def test_cookies(self, fetch: Callable[..., str]) -> None:
        call = 'http.get(url .. "/cookies")'
        assert fetch(call, "r.cookies.a .. r.cookies.b .. #r.cookies.gone") == "1two0"
        assert fetch("http.get(url)", "type(r.cookies) .. tostring(next(r.cookies))") == "tablenil"

    def test_cookies_do_not_outlive_a_call(self, decide: Decide, server: HttpServer) -> None:
        decide(f'{HTTP} http.get("{server.url}/cookies") http.get("{server.url}/") return true')
        assert [request.headers.get("cookie") for request in server.received] == [None, None]

    def test_redirects_are_followed(self, fetch: Callable[..., str]) -> None:
        assert (
            fetch('http.get(url .. "/redirect")', 'r.body .. (r.url == url .. "/landed?x=1" and "!" or "?")')
            == "hello!"
        )

    def test_redirects_in_a_circle_end(self, fetch: Callable[..., str]) -> None:
        assert fetch('http.get(url .. "/around")', "wrong").endswith('/around": stopped after 10 redirects')

    def test_a_packed_body_is_unpacked(self, fetch: Callable[..., str]) -> None:
        assert fetch('http.get(url .. "/gzip")', "r.body_size .. r.body:sub(1, 8)") == "8000unpacked"

    def test_a_body_is_bytes(self, fetch: Callable[..., str]) -> None:
        assert fetch('http.get(url .. "/bytes")', "#r.body .. r.body:byte(256) .. r.body:byte(1)") == "2562550"

    def test_connections_are_kept(self, decide: Decide, server: HttpServer) -> None:
        assert decide(f'{HTTP} for i = 1, 3 do http.get("{server.url}/") end return true').allowed
        assert len({request.peer for request in server.received}) == 1

    def test_few_connections_are_kept(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(connections, "KEPT", 2)
        kept = connections.Connections(None)
        urls = [parse_url(f"http://127.0.0.1:{port}/") for port in (1, 2, 3)]
        given = []
        for url in urls:
            connection, was_used = kept.take(url)
            assert not was_used
            connection.sock, _ = socket.socketpair()
            given.append(connection)
            kept.give(url, connection)
        assert [connection.sock is None for connection in given] == [True, False, False]


class TestRequest:
    @pytest.mark.parametrize("method", ["get", "delete", "head", "patch", "post", "put"])
    def test_methods(self, fetch: Callable[..., str], server: HttpServer, method: str) -> None:
        assert fetch(f'http.{method}(url .. "/m")', "r.status_code") == "200"
        assert [(request.method, request.path) for request in server.received] == [(method.upper(), "/m")]

    def test_any_method(self, fetch: Callable[..., str], server: HttpServer) -> None:
        fetch('http.request("options", url)', "r")
        assert server.received[0].method == "OPTIONS"
        assert "invalid method" in fetch('http.request("GET /x", url)', "wrong")

    def test_query_replaces_the_urls(self, fetch: Callable[..., str], server: HttpServer) -> None:
        fetch('http.get(url .. "/p?a=1", { query = "b=2&c=3" })', "r")
        assert (server.received[0].path, server.received[0].query) == ("/p", "b=2&c=3")

    def test_headers(self, fetch: Callable[..., str], server: HttpServer) -> None:
        fetch('http.get(url, { headers = { ["X-Number"] = 5, ["user-agent"] = "mine" } })', "r")
        assert server.received[0].headers["x-number"] == "5"
        assert server.received[0].headers["user-agent"] == "mine"

    def test_cookies(self, fetch: Callable[..., str], server: HttpServer) -> None:
        fetch('http.get(url, { cookies = { session = "abc", n = 1 } })', "r")
        assert sorted(server.received[0].headers["cookie"].split("; ")) == ["n=1", "session=abc"]

    def test_body(self, fetch: Callable[..., str], server: HttpServer) -> None:
        fetch('http.post(url, { body = "a\\0\\255" })', "r")
        assert server.received[0].body == b"a\0\xff"
        assert "content-type" not in server.received[0].headers

    def test_form(self, fetch: Callable[..., str], server: HttpServer) -> None:
        fetch('http.post(url, { form = "a=1&b=2" })', "r")
        assert server.received[0].body == b"a=1&b=2"
        assert server.received[0].headers["content-type"] == "application/x-www-form-urlencoded"

    def test_body_goes_before_form(self, fetch: Callable[..., str], server: HttpServer) -> None:
        fetch('http.post(url, { body = "text", form = "a=1" })', "r")
        assert server.received[0].body == b"text"
        assert "content-type" not in server.received[0].headers

    def test_auth(self, fetch: Callable[..., str], server: HttpServer) -> None:
        fetch('http.get(url, { auth = { user = "u", pass = "p:w" } })', "r")
        assert server.received[0].headers["authorization"] == "Basic dTpwOnc="

    @pytest.mark.parametrize("auth", ["{}", '{ user = "u" }', '{ pass = "p" }'])
    def test_auth_must_be_whole(self, fetch: Callable[..., str], server: HttpServer, auth: str) -> None:
        call = f"http.get(url, {{ auth = {auth} }})"
        assert fetch(call, "r") == "nil"
        assert fetch(call, "wrong") == "auth table must contain no nil user and pass fields"
        assert not server.received

    @pytest.mark.parametrize("option", ["5", '"text"', "nil", "{ query = 5, body = {}, headers = 1, auth = true }"])
    def test_options_of_other_types_mean_nothing(self, fetch: Callable[..., str], option: str) -> None:
        assert fetch(f"http.get(url, {option})", "r.status_code") == "200"

    @pytest.mark.parametrize(
        ("url", "wrong"),
        [
            ("nonsense", "unsupported protocol scheme"),
            ("ftp://example.com/", "unsupported protocol scheme"),
            ("http://", "no host in the URL"),
            ("http://[::1", "invalid host in the URL"),
            ("http://name.invalid/", "no such host"),
        ],
    )
    def test_bad_urls(self, fetch: Callable[..., str], url: str, wrong: str) -> None:
        assert fetch(f'http.get("{url}")', "wrong").endswith(f": {wrong}")

    def test_a_long_url_is_refused(self, fetch: Callable[..., str], server: HttpServer) -> None:
        end = fetch(f'http.get(url .. ("x"):rep({MAX_URL}))', "wrong:sub(-40)")
        assert end.endswith(f"the URL has more than {MAX_URL} bytes")
        assert not server.received

    @pytest.mark.parametrize(
        "headers", [f'for i = 1, {FIELDS + 1} do h["x" .. i] = "" end', f'h.x = ("x"):rep({FIELD_BYTES})']
    )
    def test_headers_are_bounded(self, decide: Decide, server: HttpServer, headers: str) -> None:
        decision = decide(
            f'{HTTP} local h = {{}} {headers} local r, wrong = http.get("{server.url}", {{ headers = h }})\n'
            "return true, { detail = tostring(wrong) }"
        )
        assert f"more than {FIELDS} headers and cookies, or more than {FIELD_BYTES} bytes" in decision.detail
        assert not server.received

    def test_cookies_are_bounded(self, decide: Decide, server: HttpServer) -> None:
        decision = decide(
            f'{HTTP} local c = {{}} for i = 1, {FIELDS + 1} do c["x" .. i] = "y" end\n'
            f'local r, wrong = http.get("{server.url}", {{ cookies = c }})\n'
            "return true, { detail = tostring(wrong) }"
        )
        assert f"more than {FIELDS} headers and cookies" in decision.detail
        assert not server.received

    def test_a_header_cannot_smuggle_another(self, fetch: Callable[..., str], server: HttpServer) -> None:
        assert fetch('http.get(url, { headers = { a = "b\\r\\nc: d" } })', "wrong").endswith(": invalid header")
        assert not server.received

    def test_credentials_stay_with_their_host(self, decide: Decide) -> None:
        with serving(lambda _request: 200) as other:
            moved = [("Location", f"{other.url.replace('127.0.0.1', 'localhost')}/")]
            with serving(lambda _request: (302, moved, b"")) as first:
                options = '{ auth = { user = "u", pass = "p" }, cookies = { session = "abc" } }'
                assert decide(f'{HTTP} return http.get("{first.url}", {options}).status_code == 200').allowed
        assert {"authorization", "cookie"} <= first.received[0].headers.keys()
        assert not {"authorization", "cookie"} & other.received[0].headers.keys()


class TestTimeout:
    @pytest.mark.parametrize("timeout", ["0.1", '"100ms"', '"0.1s"'])
    def test_a_silent_server(self, decide: Decide, timeout: str) -> None:
        with dripping([]) as server, gevent.Timeout(5):
            decision = decide(
                f'{HTTP} local r, wrong = http.get("{server.url}/x", {{ timeout = {timeout} }})'
                "return r == nil and true, { detail = wrong }"
            )
        assert decision.allowed
        assert decision.detail == f'Get "{server.url}/x": timed out'

    @pytest.mark.parametrize("timeout", ['"soon"', '"5"', '""', '"1s2"', "true", "{}"])
    def test_bad_timeouts(self, fetch: Callable[..., str], server: HttpServer, timeout: str) -> None:
        call = f"http.get(url, {{ timeout = {timeout} }})"
        assert fetch(call, "r") == "nil"
        assert "write" in fetch(call, "wrong") or "such as" in fetch(call, "wrong")
        assert not server.received

    @pytest.mark.parametrize(
        ("text", "seconds"),
        [("30s", 30), ("1.5s", 1.5), ("1h", 3600), ("1h15m30.5s", 4530.5), ("100ms", 0.1), ("5us", 5e-6), ("7µs", 7e-6),
         ("0", 0), (".5s", 0.5), ("1.s", 1), ("-2s", -2), ("+2s", 2), ("3ns", 3e-9)],
    )  # fmt: skip
    def test_durations(self, text: str, seconds: float) -> None:
        assert parse_duration(text) == pytest.approx(seconds)

    @pytest.mark.parametrize("text", ["", "s", "1", "1 s", "1x", "--1s", "1s-", ".s", "1..5s", "1e3s"])
    def test_no_durations(self, text: str) -> None:
        with pytest.raises(ValueError, match="invalid duration"):
            parse_duration(text)


class TestBatch:
    def test_all_succeed(self, decide: Decide, server: HttpServer) -> None:
        decision = decide(
            f"""{HTTP} local url = "{server.url}"
            local responses, errors = http.request_batch({{
              {{ "get", url .. "/status/201" }}, {{ "post", url .. "/status/404", {{ body = "b" }} }} }})
            assert(errors == nil)
            return responses[1].status_code == 201 and responses[2].status_code == 404
            """
        )
        assert decision.allowed, decision.detail

    def test_success_is_one_value(self, decide: Decide) -> None:
        assert decide(f'{HTTP} return select("#", http.request_batch({{}})) == 1').allowed

    def test_errors_keep_the_places_of_their_requests(self, decide: Decide, server: HttpServer) -> None:
        with refusing() as nowhere:
            decision = decide(
                f"""{HTTP} local url = "{server.url}"
                local responses, errors = http.request_batch({{
                  {{ "get", url .. "/status/201" }}, "text", {{ "get", "{nowhere}/" }},
                  {{ "get", url, {{ timeout = "x" }} }}, {{ "get", url .. "/status/202" }} }})
                assert(responses[1].status_code == 201 and errors[1] == nil)
                assert(responses[2] == nil and errors[2] == "Request must be a table")
                assert(responses[3] == nil and errors[3]:find("connection refused", 1, true))
                assert(responses[4] == nil and errors[4]:find("invalid duration", 1, true))
                assert(responses[5].status_code == 202 and errors[5] == nil)
                return true
                """
            )
        assert decision.allowed, decision.detail

    def test_requests_run_at_once(self, decide: Decide) -> None:
        arrived: list[Received] = []
        everyone = gevent.event.Event()

        def meet(request: Received) -> int:
            arrived.append(request)
            if len(arrived) == 5:
                everyone.set()
            return 200 if everyone.wait(5) else 500

        with serving(meet) as server:
            decision = decide(
                f"""{HTTP} local requests = {{}}
                for i = 1, 5 do requests[i] = {{ "get", "{server.url}/" .. i }} end
                local responses = http.request_batch(requests)
                for i = 1, 5 do assert(responses[i].status_code == 200 and responses[i].url:sub(-1) == tostring(i)) end
                return #responses == 5
                """
            )
        assert decision.allowed, decision.detail

    def test_a_batch_is_bounded(self, decide: Decide, server: HttpServer) -> None:
        decision = decide(
            f"""{HTTP} local requests = {{}}
            for i = 1, 5 do requests[i] = {{ "get", "{server.url}" }} end
            local responses, errors = http.request_batch(requests)
            return responses[3].status_code == 200 and responses[4] == nil, {{ detail = errors[4] }}
            """,
            batch=3,
        )
        assert decision.allowed
        assert decision.detail == "more than 3 requests in a batch"

    def test_a_batch_must_be_a_table(self, decide: Decide) -> None:
        assert "request_batch' (table expected, got nil)" in decide(f"{HTTP} http.request_batch()").detail


class TestTls:
    @pytest.fixture
    def authority(self, tmp_path: Path) -> Authority:
        return Authority(tmp_path)

    @pytest.fixture
    def server(self, authority: Authority) -> Iterator[HttpServer]:
        identity = authority.issue("localhost")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(identity.cert, identity.key)
        with serving(lambda _request: 200, context) as running:
            yield running

    def test_a_trusted_certificate(self, decide: Decide, authority: Authority, server: HttpServer) -> None:
        lua = f'{HTTP} return http.get("{server.url}").status_code == 200'
        assert decide(lua, ca_file=authority.file).allowed

    def test_any_other(self, decide: Decide, server: HttpServer) -> None:
        decision = decide(f'{HTTP} local r, wrong = http.get("{server.url}") return r ~= nil, {{ detail = wrong }}')
        assert not decision.allowed
        assert "certificate not trusted: " in decision.detail

    def test_another_name(self, decide: Decide, authority: Authority, server: HttpServer) -> None:
        url = server.url.replace("localhost", "127.0.0.1")
        lua = f'{HTTP} local r, wrong = http.get("{url}") return r ~= nil, {{ detail = wrong }}'
        decision = decide(lua, ca_file=authority.file)
        assert not decision.allowed
        assert "certificate not trusted: " in decision.detail

    def test_certificates_that_cannot_be_read(self, make: Make, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="cannot read certificates"):
            make("", ca_file=str(tmp_path / "absent.pem"))


def test_a_request_shows_no_secrets() -> None:
    request = HttpRequest(
        "get", "http://u:p@host/x?key=k3y", "key=k3y", b"k3y", headers=[("a", "k3y")], auth=("u", "k3y")
    )
    assert str(request) == 'Get "http://host/x"'
    assert "k3y" not in repr(request)


def test_a_kept_connection_that_the_server_closes_is_no_failure() -> None:
    """The server closes its end when the second request comes; what may be sent twice is."""
    client = HttpClient(1000)
    with dripping([b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"]) as server:
        for _ in range(2):
            assert client.fetch(HttpRequest("get", server.url), 5)["body"] == b"ok"
        assert len(server.connections) == 2
        with pytest.raises(HttpFailure):
            client.fetch(HttpRequest("post", server.url, body=b"x"), 5)


@pytest.mark.parametrize("answer", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort"])
def test_an_answer_that_is_none(answer: bytes) -> None:
    with dripping([answer], then_close=True) as server, pytest.raises(HttpFailure):
        HttpClient(1000).fetch(HttpRequest("get", server.url), 5)


def test_ssl_is_gevents() -> None:
    assert ssl.SSLContext.__module__.startswith("gevent")
