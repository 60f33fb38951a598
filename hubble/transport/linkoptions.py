"""Keepalive and socket options of a link."""

from __future__ import annotations

from dataclasses import dataclass

from gevent import socket

from hubble.transport.addresses import Socket
from hubble.transport.stream import TCP_NOTSENT_LOWAT

UNSENT_IN_KERNEL = 128 * 1024


@dataclass(frozen=True)
class Keepalive:
    """`interval`: seconds between pings. `silence`: seconds without a byte after which a link is dead."""

    interval: float = 20.0
    silence: float = 40.0

    @classmethod
    def every(cls, interval: float | None) -> Keepalive:
        """Return a keepalive with pings every `interval` seconds, or the default. Two pings fit into the silence."""
        return cls() if interval is None else cls(interval, max(cls.silence, 2 * interval))


def keep_queue_short(sock: Socket, batch: int) -> None:
    """Limit the unsent bytes in the kernel, so that urgent messages do not wait behind megabytes.

    But a whole `batch` of bytes: what it does not take at once costs a switch to the writer.
    """
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT, UNSENT_IN_KERNEL)
    elif sock.family == socket.AF_UNIX:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * batch)


def limit_silence(sock: Socket, seconds: float) -> None:
    """Limit how long the kernel retransmits unacknowledged data. Its default is a quarter of an hour."""
    if sock.family in (socket.AF_INET, socket.AF_INET6) and hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(seconds * 1000))
