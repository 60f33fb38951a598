"""One end of a session of protocol 0.1, with the common interface: no credit, no half-close, no resumption.

An empty Data ends a stream. The agent sends ConnectionClosed after it, and the proxy then sends Terminator to both
sides. After a Terminator before the other side's end of stream, bytes may be missing: the application sees a reset,
once the bytes that arrived before are delivered.
"""

from __future__ import annotations

from collections import deque

from hubble.base.errors import ProtocolError
from hubble.protocol.interface import SEND_AT_MOST
from hubble.protocol.legacy import limits
from hubble.protocol.messages import ConnectionClosed, Data, Message, Refusal, Reset, ResetReason, Terminator, Terms
from hubble.protocol.states import Ended, Opened, PathState, SessionEvent
from hubble.protocol.streams import Chunk


class LegacySession:
    """One end of a session. `deadline` is the time by which the entry's Ack must arrive, or None once open."""

    def __init__(self, session_id: bytes, *, from_exit: bool, deadline: float | None = None) -> None:
        self.id = session_id
        self.from_exit = from_exit
        self.path = PathState.CONNECTING
        self.deadline = deadline
        self.resumptions = 0
        self.link_round_trip = 0.0
        self._sent = 0
        self._received = 0
        self._finished = False
        self._peer_finished = False
        self._end_delivered = False
        self._terminated = False
        self._undelivered = 0
        self._chunks: deque[Chunk] = deque()
        self._outbox: deque[Message] = deque()
        self._events: list[SessionEvent] = []

    @property
    def resumable(self) -> bool:
        """Whether the session survives the loss of its path: always False."""
        return False

    @property
    def established(self) -> bool:
        """Whether both ends have ever agreed on a path."""
        return self.path is PathState.OPEN

    @property
    def may_downgrade(self) -> bool:
        """Whether an Ack turns this session into one of protocol 0.1: always False, because it is one."""
        return False

    @property
    def room(self) -> int:
        """The number of bytes that may be written now."""
        return SEND_AT_MOST if self.path is PathState.OPEN and not self._finished and not self._outbox else 0

    def open(self) -> None:
        """Open the session: its Ack has been received or sent."""
        self.path = PathState.OPEN
        self.deadline = None
        self._events.append(Opened())

    def connect(self, now: float) -> Terms | None:
        """Return None: an Initiator of protocol 0.1 has no terms."""
        return None

    def connected(self, terms: Terms | None, now: float) -> bool:
        """Handle an Ack that accepts the entry's Initiator. Return False, and ignore it, if no Ack is awaited."""
        if self.path is not PathState.CONNECTING:
            return False
        self.open()
        return True

    def accept(self, terms: Terms | None, now: float) -> Terms | None:
        """Open the exit's session once the destination is connected. Raises ProtocolError if it is open already."""
        if self.path is not PathState.CONNECTING:
            raise ProtocolError("a session of protocol 0.1 cannot be resumed")
        self.open()
        return None

    def refused(self, code: Refusal, text: str, now: float, *, patient: bool = False) -> bool:
        """Handle an Ack that refuses the entry's Initiator. Return False: protocol 0.1 does not retry."""
        self._end(ResetReason.REFUSED, text)
        return False

    def write(self, data: bytes) -> None:
        """Send `data` from the application: at least one byte, at most `room`. Dropped if the session is over."""
        if self.path is not PathState.ENDED:
            self._sent += 1
            self._outbox.append(Data(self.id, self._sent, data))

    def finish(self) -> None:
        """End the application's stream, and with it the session, as protocol 0.1 does."""
        if self.path is PathState.ENDED:
            return
        self._finished = True
        self._sent += 1
        self._outbox.append(Data(self.id, self._sent, b""))
        self._outbox.append(ConnectionClosed(self.id))

    def fail(self, reason: ResetReason, text: str = "") -> None:
        """End the session after the application or its socket failed."""
        if self.path is PathState.ENDED:
            return
        closed_already = self._finished and not self._outbox
        self._outbox.clear()
        if not closed_already:
            self._outbox.append(ConnectionClosed(self.id))
        self._end(reason, text)

    def abandon(self) -> None:
        """Let another session take this one's place."""
        self.path = PathState.ENDED

    def path_lost(self, now: float, why: str) -> None:
        """End the session: protocol 0.1 cannot resume it on another link."""
        self._outbox.clear()
        self._end(ResetReason.NOT_RESUMED, f"{why}; protocol 0.1 cannot resume")

    def expire(self, now: float) -> None:
        """Give up the session if its Ack is overdue."""
        if self.deadline is not None and now >= self.deadline:
            self.fail(ResetReason.REFUSED, "no answer")

    def receive(self, message: Message, now: float) -> None:
        """Handle a message of this session. An invalid message resets the session."""
        if self.path is PathState.ENDED:
            return
        match message:
            case Data() if message.order != self._received + 1:
                text = f"Data {message.order} followed Data {self._received}: messages are missing"
                self.fail(ResetReason.PROTOCOL_ERROR, text)
            case Data() if self._peer_finished:
                self.fail(ResetReason.PROTOCOL_ERROR, "Data arrived after the end of the stream")
            case Data() if message.data:
                self._received += 1
                self._chunks.append(bytes(message.data))
                self._undelivered += len(message.data)
            case Data():
                self._received += 1
                self._peer_finished = True
            case Terminator() | ConnectionClosed():
                self._terminated = True
                self._settle()
            case Reset():
                self._end(message.reason, message.text)
            case _:
                self.fail(ResetReason.PROTOCOL_ERROR, f"{type(message).__name__} is not a message of protocol 0.1")

    def next_message(self, most: int = SEND_AT_MOST) -> Message | None:
        """Return the next message to send, or None. `most` is ignored: each written chunk is sent as one message."""
        return self._outbox.popleft() if self._outbox else None

    def next_bytes(self, most: int = SEND_AT_MOST) -> Chunk | None:
        """Return about `most` bytes for the local socket, or None. The caller then calls `consumed`."""
        if not self._chunks:
            return None
        parts = [self._chunks.popleft()]
        size = len(parts[0])
        while self._chunks and size + len(self._chunks[0]) <= most:
            parts.append(self._chunks.popleft())
            size += len(parts[-1])
        return b"".join(parts) if len(parts) > 1 else parts[0]

    def consumed(self, amount: int, now: float) -> None:
        """Record that `amount` bytes reached the local socket. The end of the stream counts as 1."""
        if self._undelivered:
            self._undelivered -= amount
        else:
            self._end_delivered = True
        self._settle()

    @property
    def unsent(self) -> bool:
        """Whether part of the application's stream is still to be sent."""
        return bool(self._outbox)

    @property
    def waiting(self) -> int:
        """The number of bytes that wait for the local socket."""
        return self._undelivered

    @property
    def kept(self) -> int:
        """The number of sent bytes kept for a resumption: always 0."""
        return 0

    @property
    def overfull(self) -> bool:
        """Whether the link's reader must wait until the local socket has taken some of the waiting bytes."""
        return self._undelivered > limits.BACKLOG and self.path is PathState.OPEN

    @property
    def stream_ended(self) -> bool:
        """Whether all bytes were taken, and the local socket must now see the end of the stream."""
        ended = self._peer_finished and not self._chunks
        return ended and not self._end_delivered and self.path is not PathState.ENDED

    @property
    def finished(self) -> bool:
        """Whether the local socket is no longer needed."""
        return self.path is PathState.ENDED

    @property
    def has_news(self) -> bool:
        """Whether there are events."""
        return bool(self._events)

    def events(self) -> list[SessionEvent]:
        """Return the events since the last call."""
        happened, self._events = self._events, []
        return happened

    def _settle(self) -> None:
        if not self._terminated or self._undelivered:
            return
        if self._peer_finished:
            self._end(None)
        elif self._finished and not self._outbox:  # the answer to our own end of stream
            self._end(None, cut=True)
        else:
            self._end(ResetReason.UNSPECIFIED, "terminated before the other side's end of stream")

    def _end(self, reason: ResetReason | None, text: str = "", *, cut: bool = False) -> None:
        if self.path is PathState.ENDED:
            return
        self.path = PathState.ENDED
        self.deadline = None
        self._chunks.clear()
        self._events.append(Ended(reason, text, cut))
