"""Reading one HTTP answer off a socket: from the server that upgrades, or from a proxy on the way there."""

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
"""Seconds that the text of a refusal is waited for: it is worth showing, and not worth more time."""

LONGEST_TEXT = 200

# What the parser of websockets raises for answers that are cut off, malformed or too long.
MALFORMED = (EOFError, InvalidHandshake, LookupError, NotImplementedError, ValueError)


class NotHTTP(DialError):
    """What came is no HTTP answer. `received`: its first bytes; empty if the peer just closed."""

    def __init__(self, text: str, received: bytes) -> None:
        super().__init__(text)
        self.received = received


class AnswerReader:
    """The answers that arrive on one socket, and the bytes after them. The caller bounds the time."""

    def __init__(self, sock: Socket) -> None:
        self._sock = sock
        self._stream = StreamReader()
        self._first = b""

    @property
    def leftover(self) -> bytes:
        """The bytes read past what was parsed: the first frames, after an upgrade."""
        return bytes(self._stream.buffer)

    def head(self) -> Response:
        """The next final answer, without its body. Raises `NotHTTP`, or `OSError` from the socket."""
        while True:
            response = self._parse_head()
            if response.status_code >= 200 or response.status_code == 101:
                return response

    def body(self, response: Response) -> bytes:
        """The body of an answer that refuses, or what comes of it in `BODY_WAIT` seconds."""
        stream = self._stream
        parser = read_body(
            response.status_code, response.headers, stream.read_line, stream.read_exact, stream.read_to_eof
        )
        with gevent.Timeout(BODY_WAIT, False):
            try:
                return bytes(self._drive(parser))
            except (OSError, *MALFORMED):
                pass  # cut off, malformed or too long: what is there will have to do
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
    """Status, what the error page says, and what to do about it, in one line."""
    status = f"{response.status_code} {printable(response.reason_phrase)}".strip()
    text = own_text(body)
    return ": ".join(part for part in (status, "" if text in status else text, advice) if part)


def own_text(body: bytes) -> str:
    """What an error page says, in one short line: its title if it is HTML, else its first line."""
    text = body.decode(errors="replace")
    title = re.search(r"<title[^>]*>(.*?)</title", text, re.IGNORECASE | re.DOTALL)
    if title is not None:
        text = " ".join(title[1].split())
    lines = (re.sub(r"<[^>]*>", "", line) for line in text.splitlines())
    first = next((line.strip() for line in lines if line.strip()), "")
    return printable(first)


def printable(text: str) -> str:
    """`text` from the network, made fit for a terminal and a log: one line, no control characters, short."""
    clean = "".join(char for char in text if char.isprintable())
    return clean if len(clean) <= LONGEST_TEXT else clean[: LONGEST_TEXT - 3] + "..."
