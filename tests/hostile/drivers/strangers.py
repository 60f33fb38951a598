"""What needs no key that is right: wrong keys from many networks, and requests that are no requests."""

from __future__ import annotations

import itertools
import secrets
import socket
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from hubble.protocol.codec import encode
from hubble.protocol.messages import Handshake
from tests.hostile.drivers.raw import PATIENCE, REQUEST
from tests.support.frames import binary

ODD = (
    b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 101 + b"\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n",
)


def wrong_keys(*, port: int, seconds: float, name: str, at_once: int = 100) -> dict[str, int]:
    """Register with keys that are wrong and new each time, from as many /24 networks at once."""
    until = time.monotonic() + seconds
    answers: Counter[str] = Counter()

    def attack(number: int) -> None:
        while time.monotonic() < until:
            with suppress(OSError), _connected(port, f"127.0.{number}.1") as sock:
                sock.sendall(REQUEST + binary(encode(Handshake(name, secrets.token_hex(16))), masked=True))
                answer = b""
                while b"Code" not in answer and (data := sock.recv(4096)):
                    answer += data
                answers["busy" if b"busy" in answer else "denied" if b"Unauthorized" in answer else "other"] += 1

    with ThreadPoolExecutor(at_once) as threads:
        list(threads.map(attack, range(1, at_once + 1)))
    return dict(answers)


def odd_requests(*, port: int, seconds: float) -> dict[str, int]:
    """Send requests that are refused, one after the other."""
    until = time.monotonic() + seconds
    statuses: Counter[str] = Counter()
    for number, request in enumerate(itertools.cycle(ODD)):
        if time.monotonic() > until:
            break
        with suppress(OSError), _connected(port, f"127.0.{number % 200}.1") as sock:
            sock.sendall(request)
            statuses[sock.recv(4096)[9:12].decode()] += 1
    return dict(statuses)


def _connected(port: int, source: str) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), PATIENCE, source_address=(source, 0))
