"""How often a link shows that it lives, and the options of its socket."""

from __future__ import annotations

from dataclasses import dataclass

from gevent import socket

from hubble.transport.addresses import Socket
from hubble.transport.stream import TCP_NOTSENT_LOWAT

UNSENT_IN_KERNEL = 128 * 1024


@dataclass(frozen=True)
class Keepalive:
    """Seconds between pings, and of silence after which a link is dead."""

    interval: float = 20.0
    silence: float = 40.0

    @classmethod
    def every(cls, interval: float | None) -> Keepalive:
        """Pings every `interval` seconds, or as usual if that is None. Two must fit into the silence."""
        return cls() if interval is None else cls(interval, max(cls.silence, 2 * interval))


def keep_queue_short(sock: Socket, batch: int) -> None:
    """Have the kernel take no more than it can soon send, so that urgent messages are not stuck behind megabytes.

    But a whole `batch` of bytes: what it does not take at once costs a switch to the writer.
    """
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT, UNSENT_IN_KERNEL)
    elif sock.family == socket.AF_UNIX:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * batch)


def limit_silence(sock: Socket, seconds: float) -> None:
    """Have the kernel give up what is not acknowledged in time, where it would go on for a quarter of an hour."""
    if sock.family in (socket.AF_INET, socket.AF_INET6) and hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(seconds * 1000))
