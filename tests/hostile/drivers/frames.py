"""Frames and records as small as they can be, as fast as they can be sent."""

from __future__ import annotations

import itertools
import socket
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from tests.hostile.drivers.raw import RawLink, again_and_again
from tests.support.frames import BINARY, CONT, PING, PONG, TEXT, RawFrame, binary

PIECE = 256 * 1024
"""About as much as a link reads at a time."""
BEGUN = bytes(RawFrame(BINARY, fin=False))
"""A message that goes on."""
KINDS = {
    "pongs": (b"", bytes(RawFrame(PONG))),
    "pings": (b"", bytes(RawFrame(PING))),
    "full pings": (b"", bytes(RawFrame(PING, bytes(125)))),
    "texts": (b"", bytes(RawFrame(TEXT))),
    "empty messages": (b"", binary(b"", masked=True)),
    "tiny messages": (b"", binary(b"\x12", masked=True)),
    "messages in two empty fragments": (b"", bytes(RawFrame(BINARY, fin=False)) + bytes(RawFrame(CONT))),
    "pings in a fragmented message": (BEGUN, bytes(RawFrame(PING))),
    "a message in empty fragments": (BEGUN, bytes(RawFrame(CONT, fin=False))),
    "a message in tiny fragments": (BEGUN, bytes(RawFrame(CONT, b"x", fin=False))),
    "a message in small fragments": (BEGUN, bytes(RawFrame(CONT, bytes(256), fin=False))),
}
"""What comes first, and what is repeated."""


def flood(*, port: int, seconds: float, links: int, tls: bool = False, names: bool = False) -> dict[str, int]:
    """Repeat every kind of frame, over `links` links at a time, which reconnect; registered first if `names`."""
    numbers, until = itertools.count(), time.monotonic() + seconds

    def keep_flooding(kind: str) -> Counter[str]:
        before, frame = KINDS[kind]
        piece = frame * (PIECE // len(frame))

        def attack(link: RawLink, until: float) -> None:
            if names and not link.register(f"hostile-{next(numbers)}").ok:
                raise ConnectionError("the registration was refused")
            link.send(before)
            while time.monotonic() < until:
                link.send(piece)

        return Counter(again_and_again(port, until - time.monotonic(), attack, tls=tls))

    kinds = [kind for kind, _ in zip(itertools.cycle(KINDS), range(links), strict=False)]
    with ThreadPoolExecutor(links) as threads:
        return dict(sum(threads.map(keep_flooding, kinds), Counter()))


def tiny_records(*, port: int, seconds: float) -> dict[str, int]:
    """Send messages in TLS records of one byte each."""

    def attack(link: RawLink, until: float) -> None:
        link.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
        link.register("hostile")
        message = binary(bytes(60_000), masked=True)
        while time.monotonic() < until:
            for at in range(len(message)):
                link.sock.send(message[at : at + 1])

    return again_and_again(port, seconds, attack, tls=True)


def requests(*, port: int, seconds: float) -> dict[str, int]:
    """Send HTTP requests one behind the other, without waiting for the answers."""
    piece = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 2000
    sent, until = 0, time.monotonic() + seconds
    while time.monotonic() < until:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as sock:
            while time.monotonic() < until:
                sent += sock.send(piece)
    return {"requests": sent // 28}
