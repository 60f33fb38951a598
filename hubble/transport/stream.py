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
    """Owns `sock`, of any kind. One greenlet may read and one may write at a time; `close` wakes both with OSError."""

    def __init__(self, sock: Socket) -> None:
        self._sock = sock
        self._closed = False

    def recv_into(self, buffer: memoryview) -> int:
        """Wait for bytes and read some; return how many, 0 at the end of the stream. Raises OSError."""
        return self._sock.recv_into(buffer)

    def recv(self, most: int) -> bytes:
        """Wait for bytes and return at most `most`; b"" at the end of the stream. Raises OSError."""
        return self._sock.recv(most)

    def send_now(self, data: bytes | bytearray | memoryview) -> int:
        """Write without waiting; return how many bytes the kernel took. Raises OSError."""
        self._check_open()
        return 0

    def sendall(self, data: bytes | bytearray | memoryview) -> None:
        """Write everything, waiting as needed. Raises OSError."""
        self._sock.sendall(data)

    can_watch = False
    """Whether `read_now` and the watching methods may be called."""

    def read_now(self, buffer: memoryview) -> int | None:
        """Read without waiting; return how many bytes, 0 at the end, None if none are there. Raises OSError."""
        raise NotImplementedError

    def watch_reads(self, callback: Callable[[], None]) -> None:
        """Have the hub call back whenever there may be something to read, until `unwatch_reads` or `close`."""
        raise NotImplementedError

    def unwatch_reads(self) -> None:
        """Stop watching for reads."""

    def watch_writes(self, callback: Callable[[], None]) -> None:
        """Have the hub call back whenever the kernel takes more, until `unwatch_writes` or `close`."""
        raise NotImplementedError

    def unwatch_writes(self) -> None:
        """Stop watching for writes."""

    def end(self) -> None:
        """Send the end of the stream. Raises OSError."""
        # Without a TLS close_notify: a link's Close frame has said the same.
        self._sock.shutdown(socket.SHUT_WR)

    def set_option(self, level: int, option: int, value: int | bytes) -> None:
        """Set a socket option. Raises OSError."""
        self._sock.setsockopt(level, option, value)

    def limit_unsent(self, size: int) -> None:
        """Let the kernel hold at most about `size` unsent bytes, if this is a TCP socket."""
        with suppress(OSError):
            if self._sock.family in (socket.AF_INET, socket.AF_INET6):
                self._sock.setsockopt(socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT, size)

    @property
    def is_ready(self) -> bool:
        """Whether the next read may return at once, without a pass of the event loop."""
        return True

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def close(self) -> None:
        """Close. Further calls do nothing."""
        if not self._closed:
            self._closed = True
            self._sock.close()

    def _check_open(self) -> None:
        if self._closed:
            raise OSError("the socket is closed")


class _Watched(SocketStream):
    """Waits on watchers of its own, so that socket operations never wait."""

    can_watch = True

    def __init__(self, sock: Socket) -> None:
        super().__init__(sock)
        self._fd = sock.fileno()
        self._hub = gevent.get_hub()
        self._readable: Any = self._hub.loop.io(self._fd, _READ)
        self._writable: Any = None  # made when first needed, which is rare
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
            # After the watchers are closed: otherwise gevent delays the close, in an idle process for long.
            lost = OSError("the socket was closed")
            self._hub.cancel_waits_close_and_then(self._watchers, lost, self._sock.close)

    def _wait_readable(self) -> None:
        self._check_open()
        self._hub.wait(self._readable)


class _PlainStream(_Watched):
    is_ready = False  # each read waits for the event loop first

    def recv_into(self, buffer: memoryview) -> int:
        while True:
            self._wait_readable()
            with suppress(BlockingIOError):  # a spurious wake-up
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
        except BlockingIOError:  # a spurious wake-up
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
        self._held_back = 0  # bytes that are encrypted but not yet reported as sent

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
            try:  # the buffer also takes the encrypted bytes, which saves touching other memory
                records.feed(buffer[: os.readv(self._fd, (buffer,))])
            except BlockingIOError:  # a spurious wake-up
                return None
        try:
            count = records.read_into(buffer)
        finally:
            if records.has_output:
                with suppress(OSError):  # the writer will get the error; there may still be bytes to read
                    self._flush()
        return count if count or records.ended else None

    def recv(self, most: int) -> bytes:
        buffer = bytearray(most)
        return bytes(buffer[: self.recv_into(memoryview(buffer))])

    def send_now(self, data: bytes | bytearray | memoryview) -> int:
        # Encrypted bytes that the kernel does not take wait here. They count as sent once they are written, so that the
        # caller tries again; the caller must offer the same unsent bytes again.
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
        """Write the encrypted bytes without waiting; return whether none are left."""
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
    """Return the fastest kind of stream for `sock`, which it then owns."""
    if type(sock) is socket.socket:
        return _PlainStream(sock)
    if isinstance(sock, TLSSocket) and type(sock.below) is socket.socket:
        return _TLSStream(sock)
    return SocketStream(sock)
