"""A connected socket with the least work for each read and write.

gevent's `recv` tries to read before it waits, starts and stops a watcher, and switches greenlets twice; its `sendall`
asks the kernel for its buffer's size. On a path of six hops that is most of the latency (benchmarks/latency.py). Here
the hub itself can read: `watch_reads` has it call back whenever there is something, on one watcher that stays active.
Reads and writes that do not wait are tried directly. TLS moves as many records at a time as fit (benchmarks/tls.py). A
socket that is neither plain nor TLS over a plain one cannot be watched; it goes gevent's way, in greenlets.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

import gevent
from gevent import socket

from hubble.transport.addresses import Socket
from hubble.transport.tlssocket import AT_A_TIME, TLSSocket

TCP_NOTSENT_LOWAT = 25  # linux/tcp.h; the socket module has no name for it
_READ, _WRITE = 1, 2  # the events of libev's and libuv's io watchers


class SocketStream:
    """Owns `sock`, of any kind. One greenlet may read and one may write at a time; `close` wakes both by an OSError."""

    def __init__(self, sock: Socket) -> None:
        self._sock = sock
        self._closed = False

    def recv_into(self, buffer: memoryview) -> int:
        """Wait for bytes, and read some of them; 0 at the end of the stream. Raises OSError."""
        return self._sock.recv_into(buffer)

    def recv(self, most: int) -> bytes:
        """Wait for bytes, and read at most `most`; b"" at the end of the stream. Raises OSError."""
        return self._sock.recv(most)

    def send_now(self, data: bytes | bytearray | memoryview) -> int:
        """Write what the kernel takes without waiting: how many bytes, 0 if none. Raises OSError."""
        self._check_open()
        return 0

    def sendall(self, data: bytes | bytearray | memoryview) -> None:
        """Write all, waiting as long as it takes. Raises OSError."""
        self._sock.sendall(data)

    can_watch = False
    """Whether the methods below may be called."""

    def read_now(self, buffer: memoryview) -> int | None:
        """Read without waiting: how many bytes, 0 at the end of the stream, None if there are none. Raises OSError."""
        raise NotImplementedError

    def watch_reads(self, callback: Callable[[], None]) -> None:
        """Have the hub call back whenever there may be something to read, until `unwatch_reads` or `close`."""
        raise NotImplementedError

    def unwatch_reads(self) -> None:
        """Call back no more when there is something to read."""

    def watch_writes(self, callback: Callable[[], None]) -> None:
        """Have the hub call back whenever the kernel takes more, until `unwatch_writes` or `close`."""
        raise NotImplementedError

    def unwatch_writes(self) -> None:
        """Call back no more when the kernel takes more."""

    def end(self) -> None:
        """Tell the other side that nothing more will be sent. Raises OSError."""
        # Without TLS's own good-bye: it would say nothing that a link's Close frame has not said.
        self._sock.shutdown(socket.SHUT_WR)

    def set_option(self, level: int, option: int, value: int | bytes) -> None:
        """Set a socket option. Raises OSError."""
        self._sock.setsockopt(level, option, value)

    def limit_unsent(self, size: int) -> None:
        """Have the kernel take no more while it has `size` bytes to send, if the socket is TCP's."""
        with suppress(OSError):
            if self._sock.family in (socket.AF_INET, socket.AF_INET6):
                self._sock.setsockopt(socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT, size)

    @property
    def is_ready(self) -> bool:
        """Whether the next read may come back at once, so that others get no turn."""
        return True

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def close(self) -> None:
        """Close; more than once does no harm."""
        if not self._closed:
            self._closed = True
            self._sock.close()

    def _check_open(self) -> None:
        if self._closed:
            raise OSError("the socket is closed")


class _Watched(SocketStream):
    """Waits by itself, so that what is done to the socket never has to."""

    can_watch = True

    def __init__(self, sock: Socket) -> None:
        super().__init__(sock)
        self._fd = sock.fileno()
        self._hub = gevent.get_hub()
        self._readable: Any = self._hub.loop.io(self._fd, _READ)
        self._writable: Any = None  # few sockets ever need it
        self._watchers = [self._readable]
        self._watches_reads = self._watches_writes = False

    def watch_reads(self, callback: Callable[[], None]) -> None:
        if not self._closed and not self._watches_reads:
            self._watches_reads = True
            self._readable.start(callback)

    def unwatch_reads(self) -> None:
        if self._watches_reads:
            self._watches_reads = False
            self._readable.stop()

    def watch_writes(self, callback: Callable[[], None]) -> None:
        if not self._closed and not self._watches_writes:
            self._watches_writes = True
            self._write_watcher().start(callback)

    def unwatch_writes(self) -> None:
        if self._watches_writes:
            self._watches_writes = False
            self._writable.stop()

    def _write_watcher(self) -> Any:
        if self._writable is None:
            self._writable = self._hub.loop.io(self._fd, _WRITE)
            self._watchers.append(self._writable)
        return self._writable

    def close(self) -> None:
        if not self._closed:
            self.unwatch_reads()
            self.unwatch_writes()
            self._closed = True
            self._fd = -1
            # Not before they are gone: gevent would put closing off, in an idle process for long.
            lost = OSError("the socket was closed")
            self._hub.cancel_waits_close_and_then(self._watchers, lost, self._sock.close)

    def _wait_readable(self) -> None:
        self._check_open()
        self._hub.wait(self._readable)


class _PlainStream(_Watched):
    is_ready = False  # it waits on the hub before each read

    def recv_into(self, buffer: memoryview) -> int:
        while True:
            self._wait_readable()
            with suppress(BlockingIOError):  # woken without need
                return os.readv(self._fd, (buffer,))

    def recv(self, most: int) -> bytes:
        while True:
            self._wait_readable()
            with suppress(BlockingIOError):
                return os.read(self._fd, most)

    def read_now(self, buffer: memoryview) -> int | None:
        self._check_open()
        try:
            return os.readv(self._fd, (buffer,))
        except BlockingIOError:  # woken without need
            return None

    def send_now(self, data: bytes | bytearray | memoryview) -> int:
        self._check_open()
        try:
            return os.write(self._fd, data)
        except BlockingIOError:
            return 0


class _TLSStream(_Watched):
    """TLS over a plain socket."""

    _sock: TLSSocket  # type: ignore[assignment]

    def __init__(self, sock: TLSSocket) -> None:
        super().__init__(cast("Socket", sock))
        self._records = sock.records
        self._unsent: bytes | memoryview = b""
        self._held_back = 0  # bytes that are encrypted and not yet reported as taken

    @property
    def is_ready(self) -> bool:
        return not self._records.is_hungry or self._records.ended

    def recv_into(self, buffer: memoryview) -> int:
        while True:
            if not self.is_ready:
                self._wait_readable()
            count = self.read_now(buffer)
            if count is not None:
                return count

    def read_now(self, buffer: memoryview) -> int | None:
        self._check_open()
        records = self._records
        if records.ended:
            return 0
        if records.is_hungry:
            try:  # the buffer first takes what is encrypted: one piece of memory less to touch
                records.feed(buffer[: os.readv(self._fd, (buffer,))])
            except BlockingIOError:  # woken without need
                return None
        try:
            count = records.read_into(buffer)
        finally:
            if records.has_output:
                with suppress(OSError):  # the writer's to find out; there may be bytes to read still
                    self._flush()
        return count if count or records.ended else None

    def recv(self, most: int) -> bytes:
        buffer = bytearray(most)
        return bytes(buffer[: self.recv_into(memoryview(buffer))])

    def send_now(self, data: bytes | bytearray | memoryview) -> int:
        # What the kernel does not take of what is encrypted already waits here. It is reported as taken when it is
        # written, so that the caller comes back; what was not taken must be offered again as it is.
        self._check_open()
        view, sent = memoryview(data), 0
        while self._flush():
            sent, self._held_back = sent + self._held_back, 0
            if sent == len(view):
                break
            piece = view[sent : sent + AT_A_TIME]
            self._records.write(piece)
            self._held_back = len(piece)
        return sent

    def _flush(self) -> bool:
        """Write what is encrypted, without waiting: whether all of it."""
        if not self._unsent:
            if not self._records.has_output:
                return True
            self._unsent = self._records.output()
        try:
            count = os.write(self._fd, self._unsent)
        except BlockingIOError:
            return False
        self._unsent = memoryview(self._unsent)[count:] if count < len(self._unsent) else b""
        return not self._unsent

    def sendall(self, data: bytes | bytearray | memoryview) -> None:
        rest = memoryview(data)
        while rest := rest[self.send_now(rest) :]:
            self._hub.wait(self._write_watcher())


def open_stream(sock: Socket) -> SocketStream:
    """A stream that owns `sock`, the fastest kind for it."""
    if type(sock) is socket.socket:
        return _PlainStream(sock)
    if isinstance(sock, TLSSocket) and type(sock.below) is socket.socket:
        return _TLSStream(sock)
    return SocketStream(sock)
