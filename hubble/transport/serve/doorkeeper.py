"""Refuse connections when descriptors run out. The last descriptors are reserved for the proxy itself.

Without a reserve, a process could not write its state, reach the other workers or read its policy while strangers hold
connections open. The kernel assigns the lowest free number, so a descriptor's number shows how many are left.
"""

from __future__ import annotations

import errno
import logging
import os
import resource
import time
from contextlib import suppress

from gevent import monkey, socket

from hubble.transport.addresses import Socket

log = logging.getLogger(__name__)
_close = monkey.get_original("os", "close")  # gevent's closes only when the hub has its turn

MOST_KEPT_BACK = 64
REFUSAL = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nConnection: close\r\nContent-Type: text/plain\r\n"
    b"Content-Length: 21\r\n\r\ntoo many connections\n"
)
LOG_INTERVAL = 10.0
"""Seconds between log lines about refused connections."""


def kept_back(limit: int) -> int:
    """Return how many of `limit` descriptors are reserved: a sixth, and at most MOST_KEPT_BACK."""
    return min(MOST_KEPT_BACK, limit // 6)


class Doorkeeper:
    """Refuses connections that need a reserved descriptor: by a plain HTTP answer if `answers`, else by a close.

    One descriptor is kept open as a spare. When no other is left, it is closed to make the refusal possible.
    """

    def __init__(self, answers: bool, limit: int | None = None) -> None:
        self._limit = limit or resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._first_kept_back = self._limit - kept_back(self._limit)
        self._answers = answers
        self._reserve = -1
        self._refused = 0
        self._logged_at = -LOG_INTERVAL
        self._refill()

    def has_room(self, sock: Socket) -> bool:
        """Return whether the connection may stay. If not, it has been refused and closed."""
        if sock.fileno() < self._first_kept_back:
            return True
        self._refuse(sock)
        return False

    def refuse_one(self, listener: Socket) -> None:
        """Refuse the next connection of a listener whose `accept` failed for lack of descriptors.

        Raises OSError if that fails as well.
        """
        if self._reserve < 0:
            self._refill()
        if self._reserve < 0:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        _close(self._reserve)
        self._reserve = -1
        try:
            descriptor, _ = listener._accept()  # type: ignore[attr-defined]  # `accept` would wait for a connection
            self._refuse(socket.socket(fileno=descriptor))
        except BlockingIOError:
            pass
        finally:
            self._refill()

    def close(self) -> None:
        """Close the spare descriptor."""
        if self._reserve >= 0:
            _close(self._reserve)
            self._reserve = -1

    def _refuse(self, sock: Socket) -> None:
        with suppress(OSError), sock:
            sock.setblocking(False)
            if self._answers:
                sock.send(REFUSAL)
                sock.recv(65536)  # closing with an unread request would reset the answer
        self._count()

    def _count(self) -> None:
        self._refused += 1
        now = time.monotonic()
        if now - self._logged_at >= LOG_INTERVAL:
            log.error(
                "refused %d connections: too few of %d file descriptors are left; raise the limit (ulimit -n, "
                "LimitNOFILE=)", self._refused, self._limit,
            )  # fmt: skip
            self._logged_at, self._refused = now, 0

    def _refill(self) -> None:
        with suppress(OSError):
            self._reserve = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
