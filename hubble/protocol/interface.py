"""The interface of a session, as the code that moves its bytes sees it.

`session.Session` (resumable) and `legacy.session.LegacySession` (protocol 0.1) implement it. Code outside this package
depends on this interface only, and never on which of the two it has.
"""

from __future__ import annotations

from typing import Protocol

from hubble.protocol.messages import Message, Refusal, ResetReason, Terms
from hubble.protocol.states import PathState, SessionEvent
from hubble.protocol.streams import Chunk

SEND_AT_MOST = 64 * 1024
"""The longest payload of one message, in bytes."""


class SessionInterface(Protocol):
    """One end of a session: a state machine without I/O. Times are seconds of any clock, sizes are bytes.

    After each call, the caller sends what `next_message` returns, writes what `next_bytes` returns to the local
    socket, reports it by `consumed`, and handles `events`.
    """

    id: bytes
    from_exit: bool
    path: PathState
    resumptions: int
    link_round_trip: float
    """Seconds of this end's best round trip to the proxy, 0.0 if unknown. Set by the caller."""

    @property
    def deadline(self) -> float | None:
        """The time at which the caller must call `expire`, or None."""

    @property
    def resumable(self) -> bool:
        """Whether the session survives the loss of its path."""

    @property
    def established(self) -> bool:
        """Whether both ends have ever agreed on a path."""

    @property
    def may_downgrade(self) -> bool:
        """Whether an Ack without terms turns this session into one of protocol 0.1."""

    # The path.

    def connect(self, now: float) -> Terms | None:
        """Return the terms for an Initiator that asks for a path; None if the session has none. Entry only."""

    def connected(self, terms: Terms | None, now: float) -> bool:
        """Handle an Ack that accepts the Initiator. Return False, and change nothing, if it answers an older one."""

    def refused(self, code: Refusal, text: str, now: float, *, patient: bool = False) -> bool:
        """Handle an Ack that refuses the Initiator. Return True if the entry should retry before the deadline.

        `patient`: whether a new session may retry too.
        """

    def accept(self, terms: Terms | None, now: float) -> Terms | None:
        """Handle an Initiator at the exit, and return the terms of its Ack.

        A resumable session returns None for an Initiator that must not be answered. Raises ProtocolError if the
        Initiator must be refused.
        """

    def abandon(self) -> None:
        """Let another session take the place of this one, which `may_downgrade`."""

    def path_lost(self, now: float, why: str) -> None:
        """Handle the loss of the link, or of the other end."""

    def expire(self, now: float) -> None:
        """Report late credit, or give up the session, once `deadline` has passed."""

    def receive(self, message: Message, now: float) -> None:
        """Handle a message of this session. An invalid message resets the session."""

    # The local application.

    @property
    def room(self) -> int:
        """The number of bytes that may be written now."""

    def write(self, data: bytes) -> None:
        """Send `data`: at least one byte, at most `room`. Dropped if the session is over."""

    def finish(self) -> None:
        """End the outgoing stream."""

    def fail(self, reason: ResetReason, text: str = "") -> None:
        """End the session by a reset."""

    # Output.

    def next_message(self, most: int = SEND_AT_MOST) -> Message | None:
        """Return the next message to send, or None. Its payload is at most `most` bytes."""

    def next_bytes(self, most: int = SEND_AT_MOST) -> Chunk | None:
        """Return about `most` bytes for the local socket, or None. The caller then calls `consumed`."""

    def consumed(self, amount: int, now: float) -> None:
        """Record that `amount` bytes reached the local socket. The end of the stream counts as 1."""

    def events(self) -> list[SessionEvent]:
        """Return the events since the last call."""

    @property
    def has_news(self) -> bool:
        """Whether there are events, or messages other than those of the application's stream."""

    @property
    def unsent(self) -> bool:
        """Whether part of the application's stream is not sent yet."""

    @property
    def waiting(self) -> int:
        """The number of received bytes that wait for the local socket."""

    @property
    def kept(self) -> int:
        """The number of sent bytes kept for a resumption."""

    @property
    def overfull(self) -> bool:
        """Whether the link's reader must wait because too many bytes wait here. Only protocol 0.1 lacks credit."""

    @property
    def stream_ended(self) -> bool:
        """Whether all bytes were taken, and the local socket must now see the end of the stream."""

    @property
    def finished(self) -> bool:
        """Whether the local socket is no longer needed."""
