"""TLS over any socket, its records apart from the reading and writing of them.

OpenSSL on a descriptor writes each record by itself, of 16 KiB at most, and reads each in two steps. Through buffers in
memory many records move at a time (benchmarks/tls.py), and TLS runs through TLS as well.
"""

from __future__ import annotations

import io
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from gevent.lock import BoundedSemaphore

from hubble.transport.addresses import Socket

AT_A_TIME = 144 * 1024
"""Bytes encrypted at a time, a link's batch with its headers. OpenSSL keeps the memory that the most at a time took."""
RECORDS_AT_A_TIME = 128
"""Records decrypted at a time. Each takes some microseconds, however little it holds; full ones fill any buffer."""
MOST_ANSWERS = 64 * 1024
"""Bytes that may wait for a side that asks for them and does not read them."""


class Records:
    """One side of TLS without a connection: what came goes in by `feed`, what is to be sent comes out by `output`.

    `side` is what `ssl.SSLContext.wrap_bio` takes. What is encrypted is to be sent in the order in which it comes out;
    reading may add to it as well: an answer to a key update, or an alert.
    """

    def __init__(self, context: ssl.SSLContext, **side: Any) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.object = context.wrap_bio(self._incoming, self._outgoing, **side)
        self.is_hungry = True
        """Whether nothing can be read before more has come."""
        self.ended = False
        """Whether the other side will send nothing more, and all it sent has been read."""
        self._failure: ssl.SSLError | None = None

    def shake_hands(self) -> bool:
        """Go on with the handshake: whether it is done, or more has to come. Raises SSLError."""
        try:
            self.object.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def feed(self, data: bytes | memoryview) -> None:
        """What has come, b"" for the end of the stream; once `is_hungry`."""
        if data:
            self._incoming.write(data)
            self.is_hungry = False
        else:
            # Links say good-bye themselves, so an end without TLS's own good-bye is an end like any other.
            self._incoming.write_eof()
            self.ended = True

    def read_into(self, buffer: memoryview) -> int:
        """Decrypt what there is and fits, at most RECORDS_AT_A_TIME; 0 if the stream has `ended` or more has to come.

        Raises OSError.

        Before the next call the caller sends what there is to send, as far as that is possible without waiting.
        """
        if self._outgoing.pending > MOST_ANSWERS:
            raise OSError("the other side asks for key updates and does not read the answers")
        count = 0 if self.ended or self._failure else self._decrypt(buffer)
        if self._failure and not count:
            raise self._failure
        return count

    def _decrypt(self, buffer: memoryview) -> int:
        read: Callable[[int, memoryview], int] = self.object.read  # type: ignore[assignment]  # known for bytes only
        size, total = len(buffer), 0
        try:
            for _ in range(RECORDS_AT_A_TIME):
                if total == size:
                    break
                count = read(size - total, buffer[total:])
                if not count:
                    self.ended = True
                    break
                total += count
                if total < size and not self._incoming.pending:  # asking OpenSSL would cost an exception
                    self.is_hungry = True
                    break
        except ssl.SSLWantReadError:
            self.is_hungry = True
        except ssl.SSLError as error:  # once what came before it has been read
            self._failure = error
        return total

    def write(self, data: memoryview) -> None:
        """Encrypt all of it. Raises SSLError."""
        write, at = self.object.write, 0
        while at < len(data):
            at += write(data[at:])

    @property
    def has_output(self) -> bool:
        """Whether there is something to send."""
        return self._outgoing.pending > 0

    def output(self) -> bytes:
        """What is to be sent."""
        return self._outgoing.read()


class TLSSocket:
    """What a socket is to those who dial, and to an HTTP server, over the socket `below`, which it owns.

    One greenlet may read and one may write at a time. Raises OSError as sockets do; `ssl.SSLError` is one.
    """

    def __init__(self, below: Socket, context: ssl.SSLContext, **side: Any) -> None:
        self.below = below
        self.records = Records(context, **side)
        self.family = below.family
        self._sending = BoundedSemaphore(1)
        # What can be said of the connection, and done to it, is the same without TLS. Not so `shutdown` of an
        # ssl.SSLSocket, which takes TLS away from a reader.
        self.close = below.close
        self.fileno = below.fileno
        self.getpeername = below.getpeername
        self.getsockname = below.getsockname
        self.getsockopt = below.getsockopt
        self.setsockopt = below.setsockopt
        self.settimeout = below.settimeout
        self.shutdown = below.shutdown
        self.cipher = self.records.object.cipher
        self.getpeercert = self.records.object.getpeercert
        self.version = self.records.object.version

    def __enter__(self) -> TLSSocket:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    @property
    def _sock(self) -> Any:
        """gevent's pywsgi reads what is left of a request from here before it closes, lest that be a reset."""
        return getattr(self.below, "_sock", None)

    def do_handshake(self) -> None:
        """Wait until TLS is agreed upon. Raises OSError, having told the other side if it was to blame."""
        try:
            while not self.records.shake_hands():
                self._flush()
                self.records.feed(self.below.recv(AT_A_TIME))
        except ssl.SSLError:
            with suppress(OSError):
                self._flush()
            raise
        self._flush()

    def recv(self, most: int) -> bytes:
        """Wait for bytes, and read at most `most`; b"" at the end of the stream."""
        buffer = bytearray(most)
        return bytes(buffer[: self.recv_into(memoryview(buffer))])

    def recv_into(self, buffer: memoryview) -> int:
        """The same into a buffer: how many, 0 at the end of the stream."""
        records, count = self.records, 0
        while not count and not records.ended:
            if records.is_hungry:
                records.feed(self.below.recv(AT_A_TIME))
            try:
                count = records.read_into(buffer)
            finally:
                self._flush_unless_sending()
        return count

    def sendall(self, data: bytes | memoryview) -> None:
        """Write all, waiting as long as it takes."""
        rest = memoryview(data)
        with self._sending:
            while rest:
                self.records.write(rest[:AT_A_TIME])
                rest = rest[AT_A_TIME:]
                self._flush()

    def makefile(self, mode: str, _buffering: int = -1) -> io.BufferedReader:
        """A file to read the socket by; closing it leaves the socket open."""
        assert mode == "rb"
        return io.BufferedReader(_Reading(self))

    def _flush(self) -> None:
        if self.records.has_output:
            self.below.sendall(self.records.output())

    def _flush_unless_sending(self) -> None:
        """For the reader. Behind what is being written its output is in good time, and must not get in between."""
        if self.records.has_output and self._sending.acquire(blocking=False):
            try:
                with suppress(OSError):  # the writer's to find out; there may be bytes to read still
                    self._flush()
            finally:
                self._sending.release()


class _Reading(io.RawIOBase):
    def __init__(self, sock: TLSSocket) -> None:
        self._sock = sock

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._sock.recv_into(memoryview(buffer))
