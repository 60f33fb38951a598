"""Connections that say nothing."""

from __future__ import annotations

import socket
import time
from collections import Counter

from tests.hostile.drivers.raw import connect


def connections(*, port: int, seconds: float, count: int) -> dict[str, int]:
    """Hold `count` connections for so long: how many were refused, and how."""
    until = time.monotonic() + seconds
    held = [connect(port) for _ in range(count)]
    counts = Counter[str]()
    for sock in held:
        sock.settimeout(0.2 if counts["silent"] else 2.0)
        try:
            answer = sock.recv(4096)
        except TimeoutError:
            counts["silent"] += 1
            continue
        except OSError:
            counts["reset"] += 1
            continue
        counts[answer.partition(b"\r\n")[0].decode() or "closed"] += 1
    time.sleep(max(0.0, until - time.monotonic()))
    for sock in held:
        with socket.socket(fileno=sock.detach()):
            pass
    return dict(counts)
