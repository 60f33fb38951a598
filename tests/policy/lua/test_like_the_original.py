"""Values that scripts for the original met: the text of numbers, string.format, and what a key can do to a request."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from tests.policy.lua.conftest import REQUEST, Decide
from tests.support.httpservers import OK, RecordingServer, recording

HTTP = 'local http = require("http")'
Evaluate = Callable[..., str]


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ('string.format("%s %s %s", nil, true, 5)', "nil true 5"),
        ('string.format("%s", {}):sub(1, 9)', "table: 0x"),
        ('string.format("%s", print):sub(1, 10)', "function: "),
        ('#string.format("%s", "good\\0evil")', "9"),
        ('string.format("%s", "good\\0evil") == "good\\0evil"', "true"),
        ('string.format("<%5s|%-5s|%.2s>", "a", "b", "cdef")', "<    a|b    |cd>"),
        ('string.format("%s", 1234567890123456)', "1234567890123456"),
        ('string.format("%5.1f|%05d|%x|%%|%c|%g", 3.14159, 42, 255, 65, 0.5)', "  3.1|00042|ff|%|A|0.5"),
        ('string.format("%d", "10")', "10"),
        ('string.format("%q", "ab")', '"ab"'),
        ("tostring(100000000000000)", "100000000000000"),
        ("tostring(1234567890123456)", "1234567890123456"),
        ("'id=' .. 1234567890123456", "id=1234567890123456"),
        ("1234567890123456 .. ''", "1234567890123456"),
        ("-1234567890123456 .. '!'", "-1234567890123456!"),
        ("table.concat({ 1234567890123456, 2 }, ',')", "1234567890123456,2"),
        ("('x'):gsub('x', { x = 1234567890123456 })", "1234567890123456"),
        ("('x'):gsub('x', function() return 1234567890123456 end)", "1234567890123456"),
        ("string.rep(1234567890123456, 2)", "12345678901234561234567890123456"),
        ('require("json").encode({ 1234567890123456 })', "[1234567890123456]"),
        ('require("json").decode("[1234567890123456]")[1] .. ""', "1234567890123456"),
    ],
)  # fmt: skip
def test_text(evaluate: Evaluate, expression: str, text: str) -> None:
    assert evaluate(f"({expression})").replace("\\n", "\n") == text


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("0.1 + 0.2", "0.3"),
        ("2 ^ 63", "9.2233720368548e+18"),
        ("1 / 0", "inf"),
        ("tonumber('1e3')", "1000"),
        ("#{ 1, 2, nil, 4 }", "4"),
        ("os.date('!%Y-%m-%d %H:%M:%S', 0)", "1970-01-01 00:00:00"),
        ("select(2, pcall(error, 404))", "404"),
        ("string.format('%x', -1)", "ffffffffffffffff"),
    ],
)
def test_what_lua_does_right_stays(evaluate: Evaluate, expression: str, text: str) -> None:
    assert evaluate(expression) == text


@pytest.fixture
def server() -> Iterator[RecordingServer]:
    with recording() as running:
        yield running


Ask = Callable[..., str]


@pytest.fixture
def ask(decide: Decide, server: RecordingServer) -> Ask:
    """Sends what `call` asks for, where `k` is the key; returns the status and the URL, or what went wrong."""

    def text(call: str, key: str = "") -> str:
        lua = f'{HTTP} local url, k = "{server.url}", request:key() local r, wrong = {call}'
        lua += ' return true, { detail = wrong or r.status_code .. " " .. r.url:sub(#url + 1) }'
        decision = decide(lua, request=replace(REQUEST, key=key))
        return decision.detail

    return text


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("../status/200", b"/u/../status/200"),
        ("./x//y", b"/u/./x//y"),
        ("%2e%2e/x", b"/u/%2e%2e/x"),
        ("a%2fb", b"/u/a%2fb"),
        ("a b", b"/u/a%20b"),
        ("a%2Fb c", b"/u/a/b%20c"),  # Go escapes the whole path anew if a character may not stand in it
        ("ü", b"/u/%C3%BC"),
        ('a"b\\c', b"/u/a%22b%5Cc"),
        ("a!$&'()*+,;=:@[]", b"/u/a!$&'()*+,;=:@[]"),
        ("x?admin=1", b"/u/x?admin=1"),
        ("x#y", b"/u/x"),
    ],
)
def test_a_path_is_sent_as_it_is_written(ask: Ask, server: RecordingServer, key: str, path: bytes) -> None:
    ask('http.get(url .. "/u/" .. k)', key)
    assert server.targets == [path]


@pytest.mark.parametrize("key", ["%zz", "a%20b%zz", "%", "a%4"])
def test_a_stray_percent_in_a_path_is_an_error(ask: Ask, server: RecordingServer, key: str) -> None:
    assert ask('http.get(url .. "/u/" .. k)', key).endswith(": invalid escape in the URL")
    assert not server.heads


@pytest.mark.parametrize(
    ("key", "query"),
    [
        ("a%20b%zz", b"k=a%20b%zz&z=1"),  # a query is no one's to check
        ("../x", b"k=../x&z=1"),
        ("a b", b"k=a%20b&z=1"),
        ("ü", b"k=%C3%BC&z=1"),
    ],
)
def test_a_query_is_sent_as_it_is_written(ask: Ask, server: RecordingServer, key: str, query: bytes) -> None:
    ask('http.get(url .. "/?k=" .. k .. "&z=1")', key)
    ask('http.get(url .. "/?a=1", { query = "k=" .. k .. "&z=1" })', key)
    assert server.targets == [b"/?" + query] * 2


def test_a_fragment_cannot_end_the_query_option(ask: Ask, server: RecordingServer) -> None:
    ask('http.get(url, { query = "k=" .. k .. "&admin=0" })', "x#")
    assert server.targets == [b"/?k=x%23&admin=0"]


@pytest.mark.parametrize("control", ["\0", "\r\nX-Admin: 1", "\n", "\t", "\x7f"])
@pytest.mark.parametrize(
    "call",
    [
        "http.get(url .. k)",
        'http.get(url .. "/" .. k)',
        'http.get(url .. "/?k=" .. k)',
        'http.get(url, { query = "k=" .. k })',
        "http.get(url, { headers = { [k] = 'v' } })",
        "http.get(url, { cookies = { [k] = 'v' } })",
        "http.request(k, url)",
    ],
)
def test_control_characters_are_errors(ask: Ask, server: RecordingServer, call: str, control: str) -> None:
    assert "invalid" in ask(call, f"x{control}")
    assert not server.heads


@pytest.mark.parametrize("value", ["a\0b", "a\r\nX-Admin: 1", "a\nb", "a\x7f"])
def test_control_characters_in_a_header_are_an_error(ask: Ask, server: RecordingServer, value: str) -> None:
    assert ask("http.get(url, { headers = { key = k } })", value).endswith(": invalid header")
    assert not server.heads


@pytest.mark.parametrize(
    ("key", "cookie"),
    [
        ("x; admin=1", b'key="x admin=1"'),
        ("a,b", b'key="a,b"'),
        ('a"b\\c', b"key=abc"),
        ("a\r\nX: 1", b'key="aX: 1"'),
        ("a\0b", b"key=ab"),
        ("plain=1", b"key=plain=1"),
    ],
)
def test_a_cookie_is_one_cookie(ask: Ask, server: RecordingServer, key: str, cookie: bytes) -> None:
    ask("http.get(url, { cookies = { key = k } })", key)
    assert [line for line in server.heads[0].split(b"\r\n") if line.startswith(b"Cookie")] == [b"Cookie: " + cookie]


@pytest.mark.parametrize("name", ["a; admin", "a=b", "a b", ""])
def test_the_name_of_a_cookie_is_one_name(ask: Ask, server: RecordingServer, name: str) -> None:
    assert ask("http.get(url, { cookies = { [k] = 'v' } })", name).endswith(": invalid cookie name")
    assert not server.heads


@pytest.mark.parametrize("key", ["@127.0.0.2/", "\\@127.0.0.2/", " .evil/", "%00/", ":1:2", "..x/", "." * 300])
def test_a_key_in_the_host_is_an_error(ask: Ask, server: RecordingServer, key: str) -> None:
    assert "URL" in ask("http.get('http://127.0.0.1' .. k)", key) or key.startswith("@")
    assert not server.heads


def test_the_user_of_auth_cannot_bring_a_password(ask: Ask, server: RecordingServer) -> None:
    wrong = ask("http.get(url, { auth = { user = k, pass = 'p' } })", "admin:secret")
    assert wrong == "the user in auth must not contain ':'"
    assert not server.heads


@pytest.mark.parametrize("name", ["Host", "host", "Content-Length", "Transfer-Encoding", "Trailer"])
def test_fields_that_frame_the_request_are_ignored(ask: Ask, server: RecordingServer, name: str) -> None:
    assert ask(f'http.post(url, {{ body = "abc", headers = {{ ["{name}"] = "77" }} }})') == "200 "
    assert b"77" not in server.heads[0]
    assert server.heads[0].endswith(b"Content-Length: 3\r\nAccept-Encoding: gzip\r\n\r\nabc")


@pytest.mark.parametrize("method", ['""', "nil"])
def test_no_method_is_get(ask: Ask, server: RecordingServer, method: str) -> None:
    assert ask(f"http.request({method}, url)") == "200 "
    assert server.heads[0].startswith(b"GET / HTTP/1.1\r\n")


def _redirecting(target: bytes) -> bytes:
    """/chain/N leads to /chain/N-1, and /STATUS to /landed."""
    kind, _, number = target[1:].partition(b"/")
    if target == b"/landed" or number == b"0":
        return OK
    status, location = (b"302", b"/chain/%d" % (int(number) - 1)) if number else (kind, b"/landed")
    return b"HTTP/1.1 %s Moved\r\nContent-Length: 0\r\nLocation: %s\r\n\r\n" % (status, location)


class TestRedirects:
    @pytest.fixture
    def server(self) -> Iterator[RecordingServer]:
        with recording(_redirecting) as running:
            yield running

    def test_nine_are_followed(self, ask: Ask, server: RecordingServer) -> None:
        assert ask('http.get(url .. "/chain/9")') == "200 /chain/0"
        assert len(server.heads) == 10

    def test_the_tenth_is_an_error(self, ask: Ask, server: RecordingServer) -> None:
        assert ask('http.get(url .. "/chain/10")').endswith('/chain/10": stopped after 10 redirects')
        assert len(server.heads) == 10

    @pytest.mark.parametrize("status", [301, 302, 303])
    @pytest.mark.parametrize("method", ["put", "post", "delete", "patch"])
    def test_other_methods_become_get(self, ask: Ask, server: RecordingServer, status: int, method: str) -> None:
        assert ask(f'http.{method}(url .. "/{status}", {{ body = "b" }})') == "200 /landed"
        assert server.heads[1].startswith(b"GET /landed HTTP/1.1\r\n")
        assert b"Content-Length" not in server.heads[1]

    @pytest.mark.parametrize("status", [307, 308])
    def test_a_request_with_a_body_is_not_sent_again(self, ask: Ask, server: RecordingServer, status: int) -> None:
        assert ask(f'http.put(url .. "/{status}", {{ body = "b" }})') == f"{status} /{status}"
        assert ask(f'http.put(url .. "/{status}")') == "200 /landed"
        assert server.heads[-1].startswith(b"PUT /landed HTTP/1.1\r\n")
