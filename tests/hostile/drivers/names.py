"""Sessions to names that do not answer."""

from __future__ import annotations

import socket
import time


def connect(*, seconds: float, port: int, entries: list[int]) -> dict[str, int]:
    """Open one session through each of an entry's ports, and wait; `port`, the proxy's, is not needed."""
    until = time.monotonic() + seconds
    held = [socket.create_connection(("127.0.0.1", entry), 10) for entry in entries]
    time.sleep(max(0.0, until - time.monotonic()))
    for sock in held:
        sock.close()
    return {"sessions": len(held)}
