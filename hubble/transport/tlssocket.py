"""TLS over any socket, with OpenSSL reading and writing buffers in memory.

OpenSSL on a descriptor makes one system call to write each record of at most 16 KiB, and two to read one. With buffers
in memory, one call moves many records (benchmarks/tls.py), and TLS can run through TLS.
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
"""Bytes encrypted at a time: a link's batch with its headers. OpenSSL keeps the memory of the largest call."""
RECORDS_AT_A_TIME = 128
"""Records decrypted at a time. Each takes some microseconds, even a tiny one; full records fill any buffer."""
MOST_ANSWERS = 64 * 1024
"""Bytes of answers that may wait for a peer that does not read them."""


class Records:
    """One side of TLS without a connection: received bytes go in by `feed`, bytes to send come out by `output`.

    `side` is passed to `ssl.SSLContext.wrap_bio`. The output must be sent in order. Reading may also produce output: an
    answer to a key update, or an alert.
    """

    def __init__(self, context: ssl.SSLContext, **side: Any) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.object = context.wrap_bio(self._incoming, self._outgoing, **side)
        self.is_hungry = True
        """Whether nothing can be decrypted before more bytes arrive."""
        self.ended = False
        """Whether the stream has ended and all of it has been read."""
        self._failure: ssl.SSLError | None = None

    def shake_hands(self) -> bool:
        """Continue the handshake. Return True once it is done, False if more bytes must arrive. Raises SSLError."""
        try:
            self.object.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def feed(self, data: bytes | memoryview) -> None:
        """Add received bytes, b"" for the end of the stream. Call it only while `is_hungry`."""
        if data:
            self._incoming.write(data)
            self.is_hungry = False
        else:
            # Links close with a frame of their own, so an end of stream without TLS's close_notify is accepted.
            self._incoming.write_eof()
            self.ended = True

    def read_into(self, buffer: memoryview) -> int:
        """Decrypt up to RECORDS_AT_A_TIME records into `buffer`. Return the number of bytes.

        Return 0 if the stream has `ended` or more bytes must arrive. Raises OSError. Before the next call, the caller
        sends pending output as far as possible without waiting.
        """
        if self._outgoing.pending > MOST_ANSWERS:
            raise OSError("the peer requests key updates but does not read the answers")
        count = 0 if self.ended or self._failure else self._decrypt(buffer)
        if self._failure and not count:
            raise self._failure
        return count

    def _decrypt(self, buffer: memoryview) -> int:
        read: Callable[[int, memoryview], int] = self.object.read  # type: ignore[assignment]  # typed for bytes only
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
                if total < size and not self._incoming.pending:  # calling OpenSSL would cost an exception
                    self.is_hungry = True
                    break
        except ssl.SSLWantReadError:
            self.is_hungry = True
        except ssl.SSLError as error:  # raised once the bytes before it have been read
            self._failure = error
        return total

    def write(self, data: memoryview) -> None:
        """Encrypt all of `data`. Raises SSLError."""
        write, at = self.object.write, 0
        while at < len(data):
            at += write(data[at:])

    @property
    def has_output(self) -> bool:
        """Whether encrypted bytes are waiting to be sent."""
        return self._outgoing.pending > 0

    def output(self) -> bytes:
        """Return the encrypted bytes to send."""
        return self._outgoing.read()


class TLSSocket:
    """A TLS socket for dialers and HTTP servers over the socket `below`, which it owns.

    One greenlet may read and one may write at a time. Raises OSError as sockets do; `ssl.SSLError` is a subclass.
    """

    def __init__(self, below: Socket, context: ssl.SSLContext, **side: Any) -> None:
        self.below = below
        self.records = Records(context, **side)
        self.family = below.family
        self._sending = BoundedSemaphore(1)
        # Methods of the connection are those of the socket below. This includes `shutdown`: that of an ssl.SSLSocket
        # would remove TLS while a reader needs it.
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
        """The socket from which gevent's pywsgi reads the rest of a request before closing, to avoid a reset."""
        return getattr(self.below, "_sock", None)

    def do_handshake(self) -> None:
        """Complete the handshake. Raises OSError, after sending an alert if the peer is at fault."""
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
        """Wait for bytes and return at most `most`, or b"" at the end of the stream."""
        buffer = bytearray(most)
        return bytes(buffer[: self.recv_into(memoryview(buffer))])

    def recv_into(self, buffer: memoryview) -> int:
        """Wait for bytes and read them into `buffer`. Return their number, 0 at the end of the stream."""
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
        """Write all of `data`, however long that takes."""
        rest = memoryview(data)
        with self._sending:
            while rest:
                self.records.write(rest[:AT_A_TIME])
                rest = rest[AT_A_TIME:]
                self._flush()

    def makefile(self, mode: str, _buffering: int = -1) -> io.BufferedReader:
        """Return a file that reads from the socket. Closing it leaves the socket open."""
        assert mode == "rb"
        return io.BufferedReader(_Reading(self))

    def _flush(self) -> None:
        if self.records.has_output:
            self.below.sendall(self.records.output())

    def _flush_unless_sending(self) -> None:
        """Send the reader's output unless a writer is active, which sends it after its own data, in order."""
        if self.records.has_output and self._sending.acquire(blocking=False):
            try:
                with suppress(OSError):  # the writer will find out; there may still be bytes to read
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
