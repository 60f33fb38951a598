"""One local TCP connection and the session that carries it. The hub moves its bytes; it needs no greenlet.

Bytes go from the socket into the session while the session has room and the link takes its messages. Bytes go from the
session to the socket as the kernel takes them. Everything else is `turn`: after each change it sends the session's
messages and handles its events.
"""

from __future__ import annotations

import errno
import logging
import os
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

import gevent
from gevent import socket

from hubble.agent.metrics import Meters
from hubble.agent.sessions import downgraded
from hubble.base.backoff import Backoff
from hubble.protocol.binary import SESSION_END
from hubble.protocol.codec import encode, session_text
from hubble.protocol.interface import SessionInterface
from hubble.protocol.legacy import limits
from hubble.protocol.messages import Credit, Data, Message, Reset, ResetReason
from hubble.protocol.pace import Pace
from hubble.protocol.states import Ended, Opened, Resumed, Suspended
from hubble.protocol.streams import Chunk
from hubble.transport.addresses import Socket
from hubble.transport.link import Link
from hubble.transport.liveness import is_client_gone
from hubble.transport.stream import open_stream
from hubble.transport.turn import at_end, turn
from hubble.transport.writer import Writer

log = logging.getLogger(__name__)

READ_SIZE = 256 * 1024
WRITE_SIZE = 256 * 1024
_buffer = memoryview(bytearray(READ_SIZE))
ABORTIVE_CLOSE = (socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class Owner(Protocol):
    """The part of the agent that a connection uses."""

    @property
    def link(self) -> Link | None:
        """The link to the proxy, while there is one."""

    @property
    def meters(self) -> Meters:
        """The agent's counters."""

    def forget(self, connection: Connection) -> None:
        """Forget a connection whose session is over."""


class Connection:
    """A local socket and its session. `label` names it in the log; `on_suspended` is called when it must be resumed."""

    def __init__(
        self,
        owner: Owner,
        session: SessionInterface,
        label: str,
        sock: Socket,
        on_suspended: Callable[[Connection], None] = lambda connection: None,
    ) -> None:
        self.session = session
        self.label = label
        self.backoff: Backoff | None = None
        """The delays between attempts to resume, while the entry makes them."""
        self.resumed_at = 0.0
        """When the session was last resumed, on the monotonic clock."""
        self.bytes_read = self.bytes_written = 0
        """Bytes read from and written to the local socket."""
        self._owner = owner
        self._sock = sock
        self._stream = open_stream(sock)
        self._writer = Writer(
            self._stream, self._next_bytes, sent=self._delivered, resumed=self.turn, failed=self._socket_failed
        )
        self._on_suspended = on_suspended
        self._pace = Pace()
        self._acknowledged = 0
        self._is_open = False
        self._scheduled = False
        self._reads = False
        self._read_ended = False
        self._waits_since: float | None = None
        """When reading began to wait for credit, on the monotonic clock."""
        self._held: gevent.Greenlet | None = None
        self._fields = {"session": session_text(session.id)}

    # For the agent.

    def receive(self, message: Message) -> None:
        """Handle a message of the session."""
        now = time.monotonic()
        self.session.receive(message, now)
        if type(message) is Credit:
            self._measure(message.received, now)
        self._schedule_write()
        self.turn()
        if type(message) is Data:
            self._hold_back()

    @property
    def is_client_gone(self) -> bool:
        """Whether the client has reset the local socket, or closed both directions."""
        return self._stream.closed or is_client_gone(self._sock)

    def path_lost(self, why: str) -> None:
        """Suspend the session: the link is lost."""
        self.session.path_lost(time.monotonic(), why)
        self.turn()

    def expire(self) -> None:
        """Handle the session's deadline."""
        self.session.expire(time.monotonic())
        self.turn()

    def fail(self, reason: ResetReason, text: str) -> None:
        """Reset the session on both sides."""
        self.session.fail(reason, text)
        self.turn()
        if not self._stream.closed:  # the peer may learn of it later; the application need not wait
            self._reset()
            self._stream.close()

    def downgrade(self) -> None:
        """Continue with a session of protocol 0.1, before any byte has flowed: the other end speaks no other."""
        self.session = downgraded(self.session)
        if self._stream.closed:  # the application is gone, and the other end must learn it
            self.session.fail(ResetReason.LOCAL_RESET)

    def turn(self, *, in_order: bool = False) -> None:
        """Send the session's messages, handle its events, and continue reading if it has room.

        `in_order`: send credit behind the messages already queued. Otherwise credit overtakes the session's bytes.
        """
        session = self.session
        if session.unsent or session.has_news:
            self._send(in_order)
            for event in session.events():
                self._handle(event)
            if session.finished:
                self._stream.close()
        if self._is_open and not self._reads and not self._read_ended and session.room and not session.unsent:
            self._start_reading()

    # The local socket.

    def _start_reading(self) -> None:
        self._reads = True
        if self._waits_since is not None:
            self._owner.meters.stalled += time.monotonic() - self._waits_since
            self._waits_since = None
        self._stream.watch_reads(self._on_readable)

    def _stop_reading(self) -> None:
        self._reads = False
        self._stream.unwatch_reads()

    def _on_readable(self) -> None:
        turn(self._read)

    def _read(self) -> None:
        session = self.session
        room = 0 if session.unsent else session.room
        if not room:
            self._stop_reading()
            if not session.room:
                self._waits_since = time.monotonic()
            return
        try:
            count = self._stream.read_now(_buffer[: min(room, self._pace.size)])
            if count is None:
                return
            if count:
                self.bytes_read += count
                session.write(bytes(_buffer[:count]))
                self._pace.begin(time.monotonic())
            else:
                self._read_ended = True
                self._stop_reading()
                session.finish()
            self.turn()
        except (OSError, MemoryError) as error:
            self._socket_failed(error)
        except Exception:  # the bytes just read may be lost, so the session cannot continue
            self.fail(ResetReason.LOCAL_RESET, "an internal error")
            raise

    def _schedule_write(self) -> None:
        """Write received bytes at the end of this turn: several messages in one write, if they came together."""
        if self._is_open and not self._scheduled and not self._writer.blocked:
            self._scheduled = True
            at_end(self._write)

    def _write(self) -> None:
        self._scheduled = False
        if self._is_open:
            self._writer.write()
            self.turn()

    def _next_bytes(self) -> Chunk:
        """Return the next bytes to write. At the end of the session's stream, end the socket's."""
        session = self.session
        data = session.next_bytes(WRITE_SIZE)
        if data is not None:
            return data
        if session.stream_ended:
            self._stream.end()
            session.consumed(1, time.monotonic())
        return b""

    def _delivered(self, count: int) -> None:
        self.bytes_written += count
        self.session.consumed(count, time.monotonic())
        if self._held is not None and not self.session.overfull:
            self._let_go()

    def _measure(self, received: int, now: float) -> None:
        """Adapt the size of messages to the rate at which the other end consumes bytes."""
        self._pace.moved(max(0, received - self._acknowledged))
        self._acknowledged = max(received, self._acknowledged)
        self._pace.end(now)
        if self.session.kept:
            self._pace.begin(now)

    def _socket_failed(self, error: Exception) -> None:
        if self._stream.closed:  # this agent closed it: the session is over
            return
        number = error.errno if isinstance(error, OSError) else errno.ENOMEM
        self.fail(ResetReason.LOCAL_RESET, os.strerror(number) if number else str(error))

    # Messages and events.

    def _send(self, in_order: bool) -> None:
        link, session = self._owner.link, self.session
        while link is not None:
            message = session.next_message(0 if link.is_full(session.id) else self._pace.size)
            if message is None:
                return
            if type(message) is Reset:
                link.discard(session.id)
            data = encode(message)
            if type(message) is Credit and not in_order:
                link.send_latest(data, data[:SESSION_END])
            else:
                link.send(data, session.id)

    def _handle(self, event: Opened | Suspended | Resumed | Ended) -> None:
        match event:
            case Opened():
                self._owner.meters.connection_opened(self)
                log.debug("%s: open", self.label, extra=self._fields)
                self._is_open = True
                self._schedule_write()
            case Suspended(why):
                log.info("%s: waits for its path: %s", self.label, why, extra=self._fields)
                self._on_suspended(self)
            case Resumed(seconds):
                self.resumed_at = time.monotonic()
                self._owner.meters.resumptions += 1
                log.info("%s: resumed after %.1f s", self.label, seconds, extra=self._fields)
            case Ended(reason, text, cut):
                self._owner.meters.connection_closed(self, "closed" if reason is None else reason.name.lower())
                if reason is None:
                    log.debug("%s: closed", self.label, extra=self._fields)
                    if cut:
                        self._reset()
                else:
                    what = text or reason.name.lower().replace("_", " ")
                    log.info("%s: reset: %s", self.label, what, extra=self._fields)
                    self._reset()
                self._close()

    def _reset(self) -> None:
        with suppress(OSError):  # already closed
            self._stream.set_option(*ABORTIVE_CLOSE)

    def _close(self) -> None:
        self._is_open = False
        self._writer.clear()
        self._stream.close()
        self._owner.forget(self)
        if self._held is not None:
            self._let_go()

    def _hold_back(self) -> None:
        """Stop reading the link while the application of a 0.1 session, which has no credit, does not read."""
        link = self._owner.link
        if link is not None and self._held is None and self.session.overfull:
            link.pause()
            self._held = gevent.spawn_later(limits.STALL_TIMEOUT, self._stalled)
            self._held.rawlink(lambda _: link.resume())

    def _let_go(self) -> None:
        held, self._held = self._held, None
        if held is not None and held is not gevent.getcurrent():
            held.kill(block=False)

    def _stalled(self) -> None:
        self.fail(ResetReason.STALLED, f"the application has read nothing for {limits.STALL_TIMEOUT:g} s")


def reset(sock: Socket) -> None:
    """Close a socket with a reset, not an end of stream."""
    sock.setsockopt(*ABORTIVE_CLOSE)
    sock.close()
