"""A strict parser for the head of an HTTP/1 request. An ambiguous head is refused with a reason.

If a front server and Hubble parsed a request differently, an attacker could smuggle in another one (RFC 9112, section
11.2). So no error is corrected: a head that violates RFC 9112 is refused.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Protocol

MAX_HEADERS = 100
MAX_HEAD = 64 * 1024
"""Bytes of all header lines together."""

REQUEST_LINE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+ [\x21-\x7e]+ HTTP/(\d\.\d)")
NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
LENGTH = re.compile(rb"[0-9]{1,15}")
ONCE = (b"content-length", b"transfer-encoding", b"host")


class BadRequest(ValueError):
    """A head is refused with `status`. The text is the reason."""

    def __init__(self, text: str, status: str = "400 Bad Request") -> None:
        super().__init__(text)
        self.status = status

    def response(self) -> bytes:
        """Return the whole HTTP response."""
        body = f"{self}\n".encode()
        head = f"HTTP/1.1 {self.status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {len(body)}\r\n"
        return head.encode() + b"Connection: close\r\n\r\n" + body


class Lines(Protocol):
    """A buffered binary file."""

    def readline(self, size: int, /) -> bytes:
        """Return the next line with its line break, at most `size` bytes."""


def check_request_line(line: str) -> None:
    """Raise BadRequest unless `line`, with its line break, is METHOD TARGET HTTP/1.0 or 1.1."""
    raw = line.encode("latin-1")
    if not raw.endswith(b"\r\n"):
        raise BadRequest("the request line does not end with CR LF")
    found = REQUEST_LINE.fullmatch(raw[:-2])
    if found is None:
        raise BadRequest("the request line is malformed; it should be METHOD TARGET HTTP/1.1")
    if found[1] not in (b"1.0", b"1.1"):
        text = f"HTTP/{found[1].decode()} is not supported here: use HTTP/1.1"
        raise BadRequest(text, "505 HTTP Version Not Supported")


def read_headers(file: Lines, version: str) -> bytes:
    """Read and return the header lines up to and with the empty line. Raises BadRequest.

    version: the request's version, "HTTP/1.0" or "HTTP/1.1".
    """
    lines: list[bytes] = []
    size = 0
    while True:
        line = file.readline(MAX_HEAD + 2 - size)
        size += len(line)
        lines.append(line)
        if line == b"\r\n":
            break
        if size > MAX_HEAD:
            raise _too_large(f"the header lines have more than {MAX_HEAD:,} bytes")
        if len(lines) > MAX_HEADERS:
            raise _too_large(f"there are more than {MAX_HEADERS} header lines")
        if not line.endswith(b"\r\n"):
            raise BadRequest("a header line does not end with CR LF" if line else "the request ends within its head")
    _check([_field(line[:-2]) for line in lines[:-1]], version)
    return b"".join(lines)


def _field(line: bytes) -> tuple[bytes, bytes]:
    if line[:1] in (b" ", b"\t"):
        raise BadRequest("a header line begins with a space: folded lines are obsolete")
    name, colon, value = line.partition(b":")
    if not colon or not NAME.fullmatch(name):
        raise BadRequest("the name of a header is malformed; a space before the colon is not allowed")
    if CONTROL.search(value):
        raise BadRequest(f"the value of the header {name.decode()[:64]} contains a control character")
    return name.lower(), value.strip(b" \t")


def _check(fields: list[tuple[bytes, bytes]], version: str) -> None:
    """Raise BadRequest if the end of the body or the host is ambiguous."""
    counts, values = Counter(name for name, _ in fields), dict(fields)
    for name in ONCE:
        if counts[name] > 1:
            raise BadRequest(f"there is more than one {name.decode().title()} header")
    length, encoding = values.get(b"content-length"), values.get(b"transfer-encoding")
    if length is not None and encoding is not None:
        raise BadRequest("there are both a Content-Length and a Transfer-Encoding")
    if length is not None and not LENGTH.fullmatch(length):
        raise BadRequest("the Content-Length is not a number")
    if encoding is not None and (encoding.lower() != b"chunked" or version != "HTTP/1.1"):
        raise BadRequest("only the Transfer-Encoding chunked is supported, and only with HTTP/1.1")


def _too_large(text: str) -> BadRequest:
    return BadRequest(text, "431 Request Header Fields Too Large")
