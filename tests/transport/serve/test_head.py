"""Heads of requests that are read strictly."""

from __future__ import annotations

from io import BytesIO

import pytest

from hubble.transport.serve import head
from hubble.transport.serve.head import BadRequest, check_request_line, read_headers


@pytest.mark.parametrize("line", ["GET / HTTP/1.1\r\n", "M-SEARCH * HTTP/1.0\r\n", "GET http://a/b?c=%20 HTTP/1.1\r\n"])
def test_request_lines(line: str) -> None:
    check_request_line(line)


@pytest.mark.parametrize(
    ("line", "status", "words"),
    [
        ("GET / HTTP/1.1\n", "400", "does not end with CR LF"),
        ("GET / HTTP/1.1", "400", "does not end with CR LF"),
        ("GET /\r\n", "400", "METHOD TARGET HTTP/1.1"),
        ("\r\n", "400", "METHOD TARGET HTTP/1.1"),
        ("GET  / HTTP/1.1\r\n", "400", "malformed"),
        ("GET / HTTP/1.1 \r\n", "400", "malformed"),
        ("GET /a b HTTP/1.1\r\n", "400", "malformed"),
        ("GET /\x00 HTTP/1.1\r\n", "400", "malformed"),
        ("GET /\xff HTTP/1.1\r\n", "400", "malformed"),
        ("G(T / HTTP/1.1\r\n", "400", "malformed"),
        ("GET / HTTP/+1.1\r\n", "400", "malformed"),
        ("GET / HTTP/1.2\r\n", "505", "HTTP/1.2 is not supported"),
        ("PRI * HTTP/2.0\r\n", "505", "HTTP/2.0 is not supported"),
    ],
)
def test_what_is_no_request_line(line: str, status: str, words: str) -> None:
    with pytest.raises(BadRequest, match=words) as caught:
        check_request_line(line)
    assert caught.value.status.startswith(status)


@pytest.mark.parametrize(
    "lines",
    [
        "",
        "Host: a\r\n",
        "Host:a\r\nX-Tab: a\tb\r\nX-Latin: \xe9\r\nX-Empty:\r\n",
        "Content-Length: 5\r\n",
        "transfer-encoding: Chunked\r\n",
        "Cookie: a\r\nCookie: b\r\n",
    ],
)
def test_headers_come_back_as_they_were(lines: str) -> None:
    raw = f"{lines}\r\n".encode("latin-1")
    file = BytesIO(raw + b"what follows")
    assert read_headers(file, "HTTP/1.1") == raw
    assert file.read() == b"what follows"


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("Content-Length: 5\r\nContent-Length: 5\r\n", "more than one Content-Length"),
        ("Content-Length: 5\r\ncontent-length: 6\r\n", "more than one Content-Length"),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "both a Content-Length and a Transfer-Encoding"),
        ("Content-Length: +5\r\n", "not a number"),
        ("Content-Length: 5, 5\r\n", "not a number"),
        ("Content-Length: 1_0\r\n", "not a number"),
        ("Content-Length: \xb2\r\n", "not a number"),
        ("Content-Length:\r\n", "not a number"),
        ("Transfer-Encoding : chunked\r\n", "space before the colon"),
        ("Transfer-Encoding: gzip, chunked\r\n", "only the Transfer-Encoding chunked"),
        ("Transfer-Encoding: \x0bchunked\r\n", "control character"),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "more than one Transfer-Encoding"),
        ("Host: a\r\nHost: b\r\n", "more than one Host"),
        ("X: a\x00b\r\n", "the header X contains a control character"),
        ("X: a\rb\r\n", "control character"),
        ("X: a\r\n folded\r\n", "folded lines"),
        ("X: a\r\n\tfolded\r\n", "folded lines"),
        ("X: a\nY: b\r\n", "does not end with CR LF"),
        ("\n", "does not end with CR LF"),
        ("no colon\r\n", "the name of a header is malformed"),
        (": value\r\n", "the name of a header is malformed"),
        ("X\x00Y: value\r\n", "the name of a header is malformed"),
    ],
)
def test_what_two_programs_could_read_differently_is_refused(lines: str, words: str) -> None:
    with pytest.raises(BadRequest, match=words) as caught:
        read_headers(BytesIO(f"{lines}\r\n".encode("latin-1")), "HTTP/1.1")
    assert caught.value.status == "400 Bad Request"


def test_chunks_need_http_1_1() -> None:
    with pytest.raises(BadRequest, match="only with HTTP"):
        read_headers(BytesIO(b"Transfer-Encoding: chunked\r\n\r\n"), "HTTP/1.0")


def test_an_end_within_the_head() -> None:
    with pytest.raises(BadRequest, match="ends within its head"):
        read_headers(BytesIO(b"Host: a\r\n"), "HTTP/1.1")


def test_the_number_of_headers_is_bounded() -> None:
    assert read_headers(BytesIO(b"X: a\r\n" * head.MAX_HEADERS + b"\r\n"), "HTTP/1.1")
    with pytest.raises(BadRequest, match="more than 100 header lines") as caught:
        read_headers(BytesIO(b"X: a\r\n" * (head.MAX_HEADERS + 1) + b"\r\n"), "HTTP/1.1")
    assert caught.value.status.startswith("431")


@pytest.mark.parametrize("lines", [b"X: " + b"a" * 70_000, b"X: " + b"a" * 70_000 + b"\r\n", b"X: aaaaaaaaa\r\n" * 99])
def test_the_size_is_bounded(lines: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    if len(lines) < head.MAX_HEAD:
        monkeypatch.setattr(head, "MAX_HEAD", 1000)
    with pytest.raises(BadRequest, match="header lines have more than") as caught:
        read_headers(BytesIO(lines + b"\r\n"), "HTTP/1.1")
    assert caught.value.status.startswith("431")
    assert b"\r\nConnection: close\r\n" in caught.value.response()
