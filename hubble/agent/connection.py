"""One local TCP connection and the session that carries it. The hub moves its bytes; it needs no greenlet.

Bytes go from the socket into the session while the session has room and the link takes its messages. Bytes go from the
session to the socket as the kernel takes them, and the session is told when they got there. Everything else is `turn`:
after each change it sends what the session has to send, and handles what has happened to it.
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
    """What a connection needs of the agent."""

    @property
    def link(self) -> Link | None:
        """The link to the proxy, while there is one."""

    @property
    def meters(self) -> Meters:
        """Where the connection counts what it does."""

    def forget(self, connection: Connection) -> None:
        """The connection's session is over."""


class Connection:
    """A local socket and its session. `label` names it in the log; `on_suspended` is told when it must be resumed."""

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
        """When to try again to resume, while the entry does."""
        self.resumed_at = 0.0
        """When the session was last resumed, on the monotonic clock."""
        self.bytes_read = self.bytes_written = 0
        """From and to the local socket."""
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
        """Since when reading waits for credit, by the monotonic clock."""
        self._held: gevent.Greenlet | None = None
        self._fields = {"session": session_text(session.id)}

    # What the agent calls.

    def receive(self, message: Message) -> None:
        """A message of the session has come over the link."""
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
        """Whether the local socket was reset, or closed in both directions, by the other side."""
        return self._stream.closed or is_client_gone(self._sock)

    def path_lost(self, why: str) -> None:
        """The link is gone."""
        self.session.path_lost(time.monotonic(), why)
        self.turn()

    def expire(self) -> None:
        """Time has passed."""
        self.session.expire(time.monotonic())
        self.turn()

    def fail(self, reason: ResetReason, text: str) -> None:
        """End the session by a reset on both sides."""
        self.session.fail(reason, text)
        self.turn()
        if not self._stream.closed:  # the other side can be told later only; the application need not wait for that
            self._reset()
            self._stream.close()

    def downgrade(self) -> None:
        """The other end speaks protocol 0.1: go on with a session of that, before any byte has flowed."""
        self.session = downgraded(self.session)
        if self._stream.closed:  # the application is gone already, which the other end learns now
            self.session.fail(ResetReason.LOCAL_RESET)

    def turn(self, *, in_order: bool = False) -> None:
        """Send what the session has to send, handle what has happened to it, and read on where it can.

        `in_order`: credit waits its turn as well, behind what was sent before. Else it overtakes the session's bytes.
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

    def _schedule_write(self) -> None:
        """Have what came written at the end of this turn: several messages at once, if they came together."""
        if self._is_open and not self._scheduled and not self._writer.blocked:
            self._scheduled = True
            at_end(self._write)

    def _write(self) -> None:
        self._scheduled = False
        if self._is_open:
            self._writer.write()
            self.turn()

    def _next_bytes(self) -> Chunk:
        """What to write next; at the end of the session's stream, end the socket's."""
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
        """Size the pieces by how fast the other end consumes them."""
        self._pace.moved(max(0, received - self._acknowledged))
        self._acknowledged = max(received, self._acknowledged)
        self._pace.end(now)
        if self.session.kept:
            self._pace.begin(now)

    def _socket_failed(self, error: Exception) -> None:
        if self._stream.closed:  # by this agent: the session is over
            return
        number = error.errno if isinstance(error, OSError) else errno.ENOMEM
        self.fail(ResetReason.LOCAL_RESET, os.strerror(number) if number else str(error))

    # Inner workings.

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
        with suppress(OSError):  # closed already
            self._stream.set_option(*ABORTIVE_CLOSE)

    def _close(self) -> None:
        self._is_open = False
        self._writer.clear()
        self._stream.close()
        self._owner.forget(self)
        if self._held is not None:
            self._let_go()

    def _hold_back(self) -> None:
        """Protocol 0.1 has no credit: let the link wait while this session's application does not read, for a while."""
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
    """Close a socket so that the other side sees a reset, not an end of stream."""
    sock.setsockopt(*ABORTIVE_CLOSE)
    sock.close()
