"""Attacks on agents: by local clients of an entry, and by an entry on an exit."""

from __future__ import annotations

import socket
import struct
import time
import uuid
from collections import Counter, deque
from contextlib import suppress

from hubble.protocol.messages import Ack, Initiator, Terms
from tests.hostile.drivers.raw import RawLink

ABORTIVE = (socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
SOURCE = "127.0.0.2"
"""The attacker's own address: it stands for another machine."""


def dead_on_arrival(*, port: int, seconds: float, entry: int) -> dict[str, int]:
    """Connect to an entry's port and reset the connection, again and again."""
    until, counts = time.monotonic() + seconds, Counter[str]()
    while time.monotonic() < until:
        sock = socket.create_connection(("127.0.0.1", entry), 10, source_address=(SOURCE, 0))
        sock.setsockopt(*ABORTIVE)
        sock.close()
        counts["connections"] += 1
    return dict(counts)


def live(*, port: int, seconds: float, entry: int, kept: int) -> dict[str, int]:
    """Connect to an entry's port as fast as possible, keep the last `kept` connections, and close the older ones."""
    until, counts = time.monotonic() + seconds, Counter[str]()
    socks = deque[socket.socket]()
    while time.monotonic() < until:
        counts["connections"] += 1
        with suppress(ConnectionResetError):  # refused: too many wait
            socks.append(socket.create_connection(("127.0.0.1", entry), 10, source_address=(SOURCE, 0)))
        if len(socks) > kept:
            socks.popleft().close()
    return dict(counts)


def dials(*, port: int, seconds: float, host: str, destination: int, rate: int) -> dict[str, int]:
    """Ask the exit for sessions to a destination that does not answer, `rate` a second."""
    link = RawLink(port)
    link.register("greedy")
    until, counts = time.monotonic() + seconds, Counter[str]()
    while time.monotonic() < until:
        terms = Terms(1, 0, 1 << 18, bytes(range(16)))
        link.sock.settimeout(10)
        link.say(Initiator(uuid.uuid4().bytes, host, destination, "exit", terms=terms))
        counts["asked"] += 1
        link.sock.settimeout(1 / rate)
        try:
            while True:
                message = link.hear()
                if isinstance(message, Ack):
                    counts[f"refused with {message.code}"] += 1
        except TimeoutError:
            pass
    link.close()
    return dict(counts)
