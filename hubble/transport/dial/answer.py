"""Read an HTTP response from a socket: from the server that upgrades, or from an HTTP proxy on the path."""

from __future__ import annotations

import re
from collections.abc import Generator
from typing import TypeVar

import gevent
from websockets.exceptions import InvalidHandshake
from websockets.http11 import Response, read_body
from websockets.streams import StreamReader

from hubble.base.errors import DialError
from hubble.transport.addresses import Socket

T = TypeVar("T")

READ_SIZE = 65536
BODY_WAIT = 1.0
"""Seconds to wait for the body of a refusal, which is shown but not essential."""

LONGEST_TEXT = 200

# The errors of the websockets parser for truncated, malformed or too long responses.
MALFORMED = (EOFError, InvalidHandshake, LookupError, NotImplementedError, ValueError)


class NotHTTP(DialError):
    """The received bytes are not an HTTP response. `received`: the first of them; empty if the peer just closed."""

    def __init__(self, text: str, received: bytes) -> None:
        super().__init__(text)
        self.received = received


class AnswerReader:
    """Reads the responses on one socket, and keeps the bytes after them. The caller bounds the time."""

    def __init__(self, sock: Socket) -> None:
        self._sock = sock
        self._stream = StreamReader()
        self._first = b""

    @property
    def leftover(self) -> bytes:
        """The bytes read but not parsed: after an upgrade, the first frames."""
        return bytes(self._stream.buffer)

    def head(self) -> Response:
        """Return the next final response without its body. Raises `NotHTTP`, or `OSError` from the socket."""
        while True:
            response = self._parse_head()
            if response.status_code >= 200 or response.status_code == 101:
                return response

    def body(self, response: Response) -> bytes:
        """Return the body of a refusal, or the part that arrives within `BODY_WAIT` seconds."""
        stream = self._stream
        parser = read_body(
            response.status_code, response.headers, stream.read_line, stream.read_exact, stream.read_to_eof
        )
        with gevent.Timeout(BODY_WAIT, False):
            try:
                return bytes(self._drive(parser))
            except (OSError, *MALFORMED):
                pass  # truncated, malformed or too long: return the received part
        return self.leftover

    def _parse_head(self) -> Response:
        stream = self._stream
        parser = Response.parse(stream.read_line, stream.read_exact, stream.read_to_eof, proxy=True)
        try:
            return self._drive(parser)
        except MALFORMED as error:
            raise NotHTTP(str(error), self._first) from error

    def _drive(self, parser: Generator[None, None, T]) -> T:
        while True:
            try:
                next(parser)
            except StopIteration as done:
                return done.value  # type: ignore[no-any-return]
            data = self._sock.recv(READ_SIZE)
            if data:
                self._first = self._first or data
                self._stream.feed_data(data)
            else:
                self._stream.feed_eof()


def refusal(response: Response, body: bytes, advice: str) -> str:
    """Return the status, the text of the error page and the advice, in one line."""
    status = f"{response.status_code} {printable(response.reason_phrase)}".strip()
    text = own_text(body)
    return ": ".join(part for part in (status, "" if text in status else text, advice) if part)


def own_text(body: bytes) -> str:
    """Return the text of an error page as one short line: the title of an HTML page, else the first line."""
    text = body.decode(errors="replace")
    title = re.search(r"<title[^>]*>(.*?)</title", text, re.IGNORECASE | re.DOTALL)
    if title is not None:
        text = " ".join(title[1].split())
    lines = (re.sub(r"<[^>]*>", "", line) for line in text.splitlines())
    first = next((line.strip() for line in lines if line.strip()), "")
    return printable(first)


def printable(text: str) -> str:
    """Return `text` from the network safe for a terminal and a log: one short line without control characters."""
    clean = "".join(char for char in text if char.isprintable())
    return clean if len(clean) <= LONGEST_TEXT else clean[: LONGEST_TEXT - 3] + "..."
