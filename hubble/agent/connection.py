"""One local TCP connection and the session that carries it: two greenlets move its bytes.

The reader moves bytes from the socket into the session while the session has room and its messages are taken by the
link. The writer moves bytes from the session to the socket, and tells the session when they got there. Everything
else is `turn`: after each change it sends what the session has to send, and heeds what has happened to it.
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
from gevent.event import Event

from hubble.agent.metrics import Meters
from hubble.agent.sessions import downgraded
from hubble.base.backoff import Backoff
from hubble.protocol.binary import SESSION_END
from hubble.protocol.codec import encode, session_text
from hubble.protocol.interface import SessionInterface
from hubble.protocol.legacy import limits
from hubble.protocol.messages import Credit, Data, Message, Reset, ResetReason
from hubble.protocol.states import Ended, Opened, Resumed, Suspended
from hubble.protocol.streams import Chunk
from hubble.transport.addresses import Socket
from hubble.transport.link import Link
from hubble.transport.liveness import is_client_gone
from hubble.transport.stream import open_stream

log = logging.getLogger(__name__)

READ_SIZE = 64 * 1024
WRITE_SIZE = 256 * 1024
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
        self._rest: Chunk = b""
        self._on_suspended = on_suspended
        self._readable = Event()
        self._writable = Event()
        self._reading = True
        self._writing = True
        self._delivered = Event()
        self._greenlets: list[gevent.Greenlet] = []
        self._fields = {"session": session_text(session.id)}

    # What the agent calls.

    def receive(self, message: Message) -> None:
        """A message of the session has come over the link."""
        self.session.receive(message, time.monotonic())
        if type(message) is Data:  # many small ones come together: the writer takes them at once
            self.turn()
            self._hold_back()
            return
        if not self._writing and not self._rest:
            self._write_now()
        self.turn()

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
        """Send what the session has to send, heed what has happened to it, and wake whoever can go on.

        `in_order`: credit waits its turn as well, behind what was sent before. Else it overtakes the session's bytes.
        """
        session = self.session
        if session.unsent or session.has_news:
            self._send(in_order)
            for event in session.events():
                self._handle(event)
            if session.finished:
                self._stream.close()
        if not self._reading and session.room and not session.unsent:
            self._readable.set()
        if not self._writing and (self._rest or session.waiting or session.stream_ended):
            self._writable.set()

    # The greenlets.

    def _read_socket(self) -> None:
        try:
            while True:
                room = self._wait_for_room()
                data = self._stream.recv(min(room, READ_SIZE))
                if not data:
                    self.session.finish()
                    self.turn()
                    return
                self.bytes_read += len(data)
                self.session.write(data)
                self.turn()
        except (OSError, MemoryError) as error:
            self._socket_failed(error)

    def _write_now(self) -> None:
        """Write to the idle socket without waiting; what the kernel does not take is left to the writer."""
        session = self.session
        data = session.next_bytes(WRITE_SIZE)
        if data is None:
            return
        try:
            taken = self._stream.send_now(data)
        except OSError as error:
            self._socket_failed(error)
            return
        if taken < len(data):
            self._rest = memoryview(data)[taken:]
        if taken:
            self.bytes_written += taken
            session.consumed(taken, time.monotonic())

    def _write_socket(self) -> None:
        session = self.session
        try:
            while True:
                data, self._rest = self._rest or session.next_bytes(WRITE_SIZE), b""
                if data is not None:
                    self._stream.sendall(data)
                    self.bytes_written += len(data)
                    session.consumed(len(data), time.monotonic())
                    self._delivered.set()
                    self.turn()
                elif session.stream_ended:
                    self._stream.end()
                    session.consumed(1, time.monotonic())
                    self.turn()
                    if session.finished:
                        self._stream.close()
                    return
                else:
                    self._writing = False
                    self._writable.clear()
                    self._writable.wait()
                    self._writing = True
        except (OSError, MemoryError) as error:
            self._socket_failed(error)

    def _wait_for_room(self) -> int:
        session = self.session
        while session.unsent or not session.room:
            self._reading = False
            self._readable.clear()
            waited_for_credit, since = not session.room, time.monotonic()
            self._readable.wait()
            if waited_for_credit:
                self._owner.meters.stalled += time.monotonic() - since
            self._reading = True
        return session.room

    def _socket_failed(self, error: OSError | MemoryError) -> None:
        if self._stream.closed:  # by this agent: the session is over
            return
        number = error.errno if isinstance(error, OSError) else errno.ENOMEM
        self.fail(ResetReason.LOCAL_RESET, os.strerror(number) if number else str(error))

    # Inner workings.

    def _send(self, in_order: bool) -> None:
        link, session = self._owner.link, self.session
        while link is not None:
            message = session.next_message(0 if link.is_full(session.id) else READ_SIZE)
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
                self._greenlets = [gevent.spawn(self._read_socket), gevent.spawn(self._write_socket)]
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
        self._stream.close()
        self._owner.forget(self)
        self._delivered.set()
        gevent.killall([greenlet for greenlet in self._greenlets if greenlet is not gevent.getcurrent()], block=False)

    def _hold_back(self) -> None:
        """Protocol 0.1 has no credit: let the link wait while this session's application does not read, for a while."""
        while self.session.overfull:
            self._delivered.clear()
            if not self._delivered.wait(limits.STALL_TIMEOUT):
                self.fail(ResetReason.STALLED, f"the application has read nothing for {limits.STALL_TIMEOUT:g} s")


def reset(sock: Socket) -> None:
    """Close a socket so that the other side sees a reset, not an end of stream."""
    sock.setsockopt(*ABORTIVE_CLOSE)
    sock.close()
