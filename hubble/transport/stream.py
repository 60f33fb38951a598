"""A connected socket with the least work for each read and write.

gevent's `recv` tries to read before it waits, and `sendall` asks the kernel for its buffer's size each time. On a path
of six hops that costs a third of the latency (benchmarks/latency.py). Here a read waits first, on a watcher that lives
as long as the socket, and a write can be tried without any waiting. TLS sockets, which have bytes of their own in
hand, go gevent's way.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

import gevent
from gevent import socket

from hubble.transport.addresses import Socket

_READ = 1  # the event of libev's and libuv's io watchers


class Stream:
    """Owns `sock`. One greenlet may read and one may write at a time; `close` wakes both with an OSError."""

    def __init__(self, sock: Socket) -> None:
        self._sock = sock
        self._direct = type(sock) is socket.socket  # no subclass: a TLS socket's descriptor is not to be written to
        self._fd = sock.fileno()
        self._hub = gevent.get_hub()
        self._readable: Any = self._hub.loop.io(self._fd, _READ) if self._direct else None

    def recv_into(self, buffer: memoryview) -> int:
        """Wait for bytes, and read some of them; 0 at the end of the stream. Raises OSError."""
        if not self._direct:
            self._check_open()
            return self._sock.recv_into(buffer)
        while True:
            self._wait_readable()
            with suppress(BlockingIOError):  # woken without need
                return os.readv(self._fd, (buffer,))

    def recv(self, most: int) -> bytes:
        """Wait for bytes, and read at most `most`; b"" at the end of the stream. Raises OSError."""
        if not self._direct:
            self._check_open()
            return self._sock.recv(most)
        while True:
            self._wait_readable()
            with suppress(BlockingIOError):
                return os.read(self._fd, most)

    def send_now(self, data: bytes | memoryview) -> int:
        """Write what the kernel takes without waiting: how many bytes, 0 if none. Raises OSError."""
        self._check_open()
        if not self._direct:
            return 0
        try:
            return os.write(self._fd, data)
        except BlockingIOError:
            return 0

    def sendall(self, data: bytes | memoryview) -> None:
        """Write all, waiting as long as it takes. Raises OSError."""
        self._sock.sendall(data)

    def end(self) -> None:
        """Tell the other side that nothing more will be sent. Raises OSError."""
        if self._direct:
            self._sock.shutdown(socket.SHUT_WR)
            return
        # A TLS socket's own shutdown would end its reading as well.
        with socket.socket(fileno=os.dup(self._fd)) as connection:
            connection.shutdown(socket.SHUT_WR)

    def set_option(self, level: int, option: int, value: int | bytes) -> None:
        """Set a socket option. Raises OSError."""
        self._sock.setsockopt(level, option, value)

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._fd < 0

    def close(self) -> None:
        """Close; more than once does no harm."""
        if self._fd < 0:
            return
        self._fd = -1
        if self._readable is not None:
            self._hub.cancel_wait(self._readable, OSError("the socket was closed"), True)
        self._sock.close()

    def _wait_readable(self) -> None:
        self._check_open()
        self._hub.wait(self._readable)

    def _check_open(self) -> None:
        if self._fd < 0:
            raise OSError("the socket is closed")
