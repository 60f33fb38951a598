"""Ports for programs that cannot bind port 0 and tell which one they got."""

from __future__ import annotations

import errno
import random
import socket
from pathlib import Path

LOWEST = 10_000
RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_random = random.SystemRandom()


def free_port() -> int:
    """Return a port that is free on every address of both families.

    It lies below the range that the kernel takes ports from for connections and for port 0. Within that range, another
    connection of the machine would often take the port before the program binds it, or keep it in TIME_WAIT.
    """
    highest = int(RANGE.read_text().split()[0])
    while True:
        port = _random.randrange(LOWEST, highest)
        with socket.socket(socket.AF_INET6) as sock:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            try:
                sock.bind(("::", port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                continue
        return port
