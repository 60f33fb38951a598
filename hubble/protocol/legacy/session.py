"""One session of protocol 0.1, behind the interface of all sessions: no credit, no half-close, no resumption.

The end of a stream is an empty Data, which the agent follows with ConnectionClosed; the proxy then sends Terminator to
both sides. A Terminator before the other side's end of stream means that bytes may be missing, so the application
sees a reset; what arrived before it is delivered first.
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
    """See the module. `deadline` is for its Ack, which an entry awaits; it has none once open."""

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
        """Whether the session survives the loss of its path: it does not."""
        return False

    @property
    def established(self) -> bool:
        """Whether both ends have ever agreed on a path."""
        return self.path is PathState.OPEN

    @property
    def may_downgrade(self) -> bool:
        """Whether an Ack turns this session into one of protocol 0.1: it is one already."""
        return False

    @property
    def room(self) -> int:
        """How many bytes may be written now."""
        return SEND_AT_MOST if self.path is PathState.OPEN and not self._finished and not self._outbox else 0

    def open(self) -> None:
        """The Ack has been received, or sent."""
        self.path = PathState.OPEN
        self.deadline = None
        self._events.append(Opened())

    def connect(self, now: float) -> Terms | None:
        """Return None: an Initiator of protocol 0.1 has no terms."""
        return None

    def connected(self, terms: Terms | None, now: float) -> bool:
        """An Ack has accepted the entry's Initiator. False, and nothing happens, if the session does not await one."""
        if self.path is not PathState.CONNECTING:
            return False
        self.open()
        return True

    def accept(self, terms: Terms | None, now: float) -> Terms | None:
        """The exit has connected to the destination: the session is open. Raises ProtocolError if it was already."""
        if self.path is not PathState.CONNECTING:
            raise ProtocolError("a session of protocol 0.1 cannot be resumed")
        self.open()
        return None

    def refused(self, code: Refusal, text: str, now: float, *, patient: bool = False) -> bool:
        """An Ack has refused the entry's Initiator. False: there is no use in trying again."""
        self._end(ResetReason.REFUSED, text)
        return False

    def write(self, data: bytes) -> None:
        """The application has sent `data`: at most `room` bytes, at least one. Dropped if the session is over."""
        if self.path is not PathState.ENDED:
            self._sent += 1
            self._outbox.append(Data(self.id, self._sent, data))

    def finish(self) -> None:
        """The application has ended its stream; protocol 0.1 closes the session then."""
        if self.path is PathState.ENDED:
            return
        self._finished = True
        self._sent += 1
        self._outbox.append(Data(self.id, self._sent, b""))
        self._outbox.append(ConnectionClosed(self.id))

    def fail(self, reason: ResetReason, text: str = "") -> None:
        """The application, or its socket, is gone."""
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
        """The link is gone, and with it the session."""
        self._outbox.clear()
        self._end(ResetReason.NOT_RESUMED, f"{why}; protocol 0.1 cannot resume")

    def expire(self, now: float) -> None:
        """Time has passed: give the session up if its Ack has not come."""
        if self.deadline is not None and now >= self.deadline:
            self.fail(ResetReason.REFUSED, "no answer")

    def receive(self, message: Message, now: float) -> None:
        """A message of this session has arrived."""
        if self.path is PathState.ENDED:
            return
        match message:
            case Data() if message.order != self._received + 1:
                self.fail(
                    ResetReason.PROTOCOL_ERROR, f"Data {message.order} after Data {self._received}: some is missing"
                )
            case Data() if self._peer_finished:
                self.fail(ResetReason.PROTOCOL_ERROR, "Data after the end of the stream")
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
                self.fail(ResetReason.PROTOCOL_ERROR, f"{type(message).__name__} in a session of protocol 0.1")

    def next_message(self, most: int = SEND_AT_MOST) -> Message | None:
        """The next message to send, or None for now. `most` is for the interface: what is written is sent whole."""
        return self._outbox.popleft() if self._outbox else None

    def next_bytes(self, most: int = SEND_AT_MOST) -> Chunk | None:
        """The next bytes for the local socket, or None for now; then call `consumed`."""
        if not self._chunks:
            return None
        parts = [self._chunks.popleft()]
        size = len(parts[0])
        while self._chunks and size + len(self._chunks[0]) <= most:
            parts.append(self._chunks.popleft())
            size += len(parts[-1])
        return b"".join(parts) if len(parts) > 1 else parts[0]

    def consumed(self, amount: int, now: float) -> None:
        """`amount` bytes have reached the local socket; the end of the stream counts as 1."""
        if self._undelivered:
            self._undelivered -= amount
        else:
            self._end_delivered = True
        self._settle()

    @property
    def unsent(self) -> bool:
        """Whether something of the application's stream is still to be sent."""
        return bool(self._outbox)

    @property
    def waiting(self) -> int:
        """How many bytes wait for the local socket."""
        return self._undelivered

    @property
    def kept(self) -> int:
        """How many sent bytes are kept for a resumption: none."""
        return 0

    @property
    def overfull(self) -> bool:
        """Whether the link's reader must wait until the local socket has taken some of what waits for it."""
        return self._undelivered > limits.BACKLOG and self.path is PathState.OPEN

    @property
    def stream_ended(self) -> bool:
        """Whether all bytes were given out, and the local socket is to be told the end of the stream."""
        ended = self._peer_finished and not self._chunks
        return ended and not self._end_delivered and self.path is not PathState.ENDED

    @property
    def finished(self) -> bool:
        """Whether the local socket is needed no more."""
        return self.path is PathState.ENDED

    @property
    def has_news(self) -> bool:
        """Whether there are events."""
        return bool(self._events)

    def events(self) -> list[SessionEvent]:
        """What has happened since the last call."""
        happened, self._events = self._events, []
        return happened

    def _settle(self) -> None:
        if not self._terminated or self._undelivered:
            return
        if self._peer_finished:
            self._end(None)
        elif self._finished and not self._outbox:  # the answer to our own end, which cuts the other side's stream
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
