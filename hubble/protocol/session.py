"""One end of a resumable session: a state machine without I/O and without a clock.

The caller moves the bytes. It calls `write`, `finish` and `fail` for the local socket, `receive` for each message of
the session, `path_lost` when the link is lost, and `expire` once `deadline` has passed. After each call it sends the
messages from `next_message`, writes the bytes from `next_bytes` to the local socket, reports them by `consumed`, and
handles `events`.

The path between the two ends has the states of `PathState`. The entry connects, and connects again after the path was
lost. The exit answers. `PATHS` lists the valid changes of state.
"""

from __future__ import annotations

import hmac
from collections import deque

from hubble.base.errors import ProtocolError
from hubble.protocol.credit import Budget, Window
from hubble.protocol.duplex import Duplex
from hubble.protocol.interface import SEND_AT_MOST
from hubble.protocol.messages import Credit, Done, Eof, Message, Refusal, Reset, ResetReason, Stream, Suspend, Terms
from hubble.protocol.states import PATHS, Ended, Move, Opened, PathState, Resumed, SessionEvent, Suspended
from hubble.protocol.streams import Chunk, Incoming, Outgoing, OutOfStep

RESUME_TIMEOUT = 60.0
"""Seconds that a session waits for another path."""
OPEN_TIMEOUT = 30.0
"""Seconds that an entry waits for the first Ack of a session."""
LATE_CREDIT = 0.2
"""Seconds after which even a few consumed bytes are reported: the sender keeps them, and may be out of budget."""
TRY_AGAIN = frozenset({Refusal.NO_GATEWAY, Refusal.BUSY, Refusal.LIMIT})
"""Refusals after which a retry may succeed."""


class Session(Duplex):
    """One end of a session: the exit if `from_exit`, else the entry. Times are in seconds of any monotonic clock.

    secret: 16 bytes. window: the credit for received bytes. keep: the budget for sent bytes that are not consumed yet.
    """

    resumable = True
    """The session survives the loss of its path."""
    overfull = False
    """Credit bounds the waiting bytes, so the link's reader never waits for this session."""

    def __init__(
        self,
        session_id: bytes,
        *,
        from_exit: bool,
        secret: bytes,
        window: Window,
        keep: Budget,
        resume_timeout: float = RESUME_TIMEOUT,
    ) -> None:
        super().__init__(Outgoing(keep), Incoming(window))
        self.id = session_id
        self.from_exit = from_exit
        self.path = PathState.WAITING
        self.established = False
        """Whether both ends have ever agreed on a path."""
        self.link_round_trip = 0.0
        """The best round-trip time of this end's link to the proxy, in seconds. The caller sets it if it is known."""
        self.resumptions = 0
        self._secret = secret
        self._resume_timeout = resume_timeout
        self._attempt = 0
        self._asked = False
        """Whether the exit may have the session: an Initiator was sent and not refused."""
        self._deadline: float | None = None
        self._credit_at: float | None = None
        self._lost_at = 0.0
        self._window = window
        self._failure: Reset | None = None
        self._done_sent = False
        self._done_received = False
        self._outbox: deque[Message] = deque()
        self._events: list[SessionEvent] = []

    def __repr__(self) -> str:
        return f"<Session {self.id.hex()} {'exit' if self.from_exit else 'entry'} {self.path.value}>"

    @property
    def deadline(self) -> float | None:
        """The time at which `expire` must be called, or None."""
        if self._deadline is None or self._credit_at is None:
            return self._deadline if self._credit_at is None else self._credit_at
        return min(self._deadline, self._credit_at)

    @property
    def may_downgrade(self) -> bool:
        """Whether an Ack without terms turns this session into one of protocol 0.1: only before it was first open."""
        return self.path is PathState.CONNECTING and not self.established

    # The local application.

    @property
    def room(self) -> int:
        """The number of bytes that may be written now."""
        return 0 if self._is_over or not self.established else self.outgoing.room

    def write(self, data: bytes) -> None:
        """Send `data` from the application: at least one byte, at most `room`. Dropped if the session is over."""
        if not self._is_over:
            self.outgoing.write(data)

    def finish(self) -> None:
        """End the application's stream. The application may still receive."""
        if not self._is_over:
            self.outgoing.finish()

    def fail(self, reason: ResetReason, text: str = "") -> None:
        """Reset the session after the application or its socket failed.

        The session ends immediately if the other side can be told now, or will learn of the reset when it resumes. An
        entry without a path keeps the session until it has sent the reset on another path, or until its deadline.
        """
        if self.path is PathState.ENDED or self._failure:
            return
        self._failure = Reset(self.id, self.from_exit, reason, text)
        self._discard()
        if self.path is PathState.OPEN:
            self._send_failure()
        elif self.from_exit or not self._asked:
            self._end(reason, text)

    def abandon(self) -> None:
        """Give up the session before a byte has flowed: the other end cannot resume, so another kind replaces it."""
        self._move(Move.END)
        self._discard()

    # The path.

    def connect(self, now: float) -> Terms:
        """Return the terms of an Initiator by which the entry requests a path, for the first time or again."""
        assert not self.from_exit
        self._move(Move.CONNECT)
        self._outbox.clear()
        self._attempt += 1
        self._asked = True
        self._start_clock(now)
        return self._terms(secret=self._secret, resume=self.established)

    def connected(self, terms: Terms | None, now: float) -> bool:
        """Handle an Ack that accepts the entry's Initiator. Return False, and ignore it, if it answers an older one."""
        if self.path is not PathState.CONNECTING or terms is None or terms.attempt != self._attempt:
            return False
        self._agree(terms, now)
        return True

    def refused(self, code: Refusal, text: str, now: float, *, patient: bool = False) -> bool:
        """Handle an Ack that refuses the entry's Initiator. Return True if the entry should retry before its deadline.

        A session that was open retries if the exit may return or a limit may allow it later. A new session does so only
        if the entry is `patient`.
        """
        if self.path is not PathState.CONNECTING:
            return False
        if self.finished:  # The other side has finished too, and has forgotten the session.
            self._end(None)
            return False
        if code in TRY_AGAIN and (self.established or patient):
            self._move(Move.LOSE)
            self._asked = self.established
            return True
        unknown = code is Refusal.UNKNOWN_SESSION
        self._end(ResetReason.UNKNOWN_SESSION if unknown else ResetReason.REFUSED, text)
        return False

    def accept(self, terms: Terms | None, now: float) -> Terms | None:
        """Handle an Initiator for the exit's session, the first or one that resumes. Return the terms of its Ack.

        Return None for an Initiator that must not be answered, because it is older than the last answered one. Raises
        ProtocolError if the secret is wrong or the offsets are impossible: the caller refuses the Initiator, and the
        session is unchanged.
        """
        assert self.from_exit
        if terms is None:
            raise ProtocolError("an Initiator of protocol 0.1 cannot resume a resumable session")
        if not hmac.compare_digest(terms.secret, self._secret):
            raise ProtocolError("the secret is wrong")
        if self.path is PathState.ENDED:
            raise ProtocolError("the session has ended")
        if terms.attempt <= self._attempt:
            return None
        if not self.outgoing.can_rewind(terms.received):
            raise ProtocolError(f"cannot resume from offset {terms.received}")
        self._attempt = terms.attempt
        if self.path is PathState.OPEN:
            self._lost_at = now
        self._agree(terms, now)
        return self._terms()

    def path_lost(self, now: float, why: str) -> None:
        """Wait for another path after the link is lost or the other side is unreachable."""
        if self.path is PathState.ENDED:
            return
        self._start_clock(now)
        if self.path is PathState.OPEN:
            self._events.append(Suspended(why))
        self._move(Move.LOSE)
        self._outbox.clear()

    def expire(self, now: float) -> None:
        """Report late credit if it is due. Give up the session if its deadline has passed."""
        if self._credit_at is not None and now >= self._credit_at:
            self._tell_credit(now, late=True)
        if self._deadline is None or now < self._deadline:
            return
        if self._failure or self.finished:
            self._end(self._failure.reason if self._failure else None)
        else:
            self._end(ResetReason.NOT_RESUMED, "not resumed in time")

    # The other side.

    def receive(self, message: Message, now: float) -> None:
        """Handle a message of this session. An invalid message resets the session."""
        try:
            self._receive(message, now)
        except OutOfStep as gap:
            self._outbox.append(Suspend(self.id, self.from_exit))
            self._lose_keeping_outbox(now, str(gap))
        except ProtocolError as error:
            self.fail(ResetReason.PROTOCOL_ERROR, str(error))

    def _receive(self, message: Message, now: float) -> None:
        if self.path is PathState.ENDED:
            return
        match message:
            case Credit():
                self.outgoing.acknowledge(message.received, message.limit)
                self._settle(now)
            case Reset() if self.finished:  # The other side did not learn of the end in time; no bytes are lost.
                self._end(None)
            case Reset():
                self._discard()
                self._end(message.reason, message.text or "reset by the other side")
            case _ if self.path is not PathState.OPEN or self._failure:
                pass  # From a path that was given up: the other side retransmits it.
            case Stream():
                self.incoming.receive(message.offset, message.payload, now)
            case Eof():
                self.incoming.receive_end(message.offset)
            case Done():
                self._receive_done(now)
            case Suspend():
                self.path_lost(now, "the other side is unreachable")
                if self.from_exit:  # It may concern an older path: an entry that has this one open must connect again.
                    self._outbox.append(Suspend(self.id, self.from_exit))
            case _:
                raise ProtocolError(f"{type(message).__name__} is not a message of a session")

    # Output.

    def next_message(self, most: int = SEND_AT_MOST) -> Message | None:
        """Return the next message to send, or None. It has at most `most` bytes of the stream; none if `most` is 0."""
        if self._outbox:
            return self._outbox.popleft()
        if self.path is not PathState.OPEN or self._failure or not most:
            return None
        part = self.outgoing.next_part(most)
        if part:
            return Stream(self.id, self.from_exit, *part)
        end = self.outgoing.next_end()
        return None if end is None else Eof(self.id, self.from_exit, end)

    def next_bytes(self, most: int = SEND_AT_MOST) -> Chunk | None:
        """Return about `most` bytes for the local socket, or None. The caller then calls `consumed`."""
        return self.incoming.take(most)

    def consumed(self, amount: int, now: float) -> None:
        """Record that `amount` bytes reached the local socket. The end of the stream counts as 1."""
        if self._is_over:
            return
        self.incoming.consume(amount)
        self._tell_credit(now)
        self._settle(now)

    @property
    def stream_ended(self) -> bool:
        """Whether all bytes were taken, and the local socket must now see the end of the stream."""
        return self.incoming.ended and not self.incoming.complete and not self._is_over

    @property
    def has_news(self) -> bool:
        """Whether there are events, or messages besides those of the application's stream."""
        return bool(self._outbox or self._events)

    def events(self) -> list[SessionEvent]:
        """Return the events since the last call."""
        happened, self._events = self._events, []
        return happened

    # Internals.

    def _move(self, move: Move) -> None:
        following = PATHS.get((self.path, move))
        if following is None:
            raise AssertionError(f"{move} in state {self.path}")
        self.path = following

    @property
    def _is_over(self) -> bool:
        """Whether the application's bytes are discarded from now on."""
        return self.path is PathState.ENDED or self._failure is not None

    def _tell_credit(self, now: float, late: bool = False) -> None:
        credit = self.incoming.credit(now, late)
        if credit or not self.incoming.unreported:
            self._credit_at = None
        elif self._credit_at is None:
            self._credit_at = now + LATE_CREDIT
        if credit and self.path is PathState.OPEN:
            self._outbox.append(Credit(self.id, self.from_exit, *credit))

    def _start_clock(self, now: float) -> None:
        if self._deadline is None:
            self._lost_at = now
            self._deadline = now + (self._resume_timeout if self.established else OPEN_TIMEOUT)

    def _terms(self, secret: bytes = b"", resume: bool = False) -> Terms:
        incoming = self.incoming
        round_trip = round(self.link_round_trip * 1e6)
        return Terms(self._attempt, incoming.expected, incoming.limit, secret, resume, round_trip)

    def _agree(self, terms: Terms, now: float) -> None:
        """Open the path: both ends know each other's offsets and continue from there."""
        self._move(Move.ACCEPT)
        if self._failure:
            self._send_failure()
            return
        try:
            self.outgoing.acknowledge(0, terms.limit)
            self.outgoing.rewind(terms.received)
        except ProtocolError as error:
            self.fail(ResetReason.PROTOCOL_ERROR, str(error))
            return
        self._outbox.clear()
        self._deadline = None
        known = self.link_round_trip and terms.round_trip
        self._window.new_path(self.link_round_trip + terms.round_trip / 1e6 if known else None)
        if self.established:
            self.resumptions += 1
            self._events.append(Resumed(now - self._lost_at))
        else:
            self.established = True
            self._events.append(Opened())
        if self.incoming.consumed:
            self._outbox.append(Credit(self.id, self.from_exit, self.incoming.consumed, self.incoming.limit))
        self._done_sent = False
        self._settle(now)

    def _settle(self, now: float) -> None:
        """Send Done once both streams are consumed. End the session once both sides have sent it."""
        if not self.finished or self.path is not PathState.OPEN:
            return
        if not self._done_sent:
            self._done_sent = True
            self._outbox.append(Done(self.id, self.from_exit))
            self._start_clock(now)
        if self._done_received:
            self._end(None)

    def _receive_done(self, now: float) -> None:
        self.outgoing.acknowledge(self.outgoing.end + self.outgoing.finished, 0)
        self._done_received = True
        if not self.finished:
            raise ProtocolError("Done arrived before the streams were complete")
        self._settle(now)

    def _lose_keeping_outbox(self, now: float, why: str) -> None:
        kept = list(self._outbox)
        self.path_lost(now, why)
        self._outbox.extend(kept)

    def _send_failure(self) -> None:
        assert self._failure
        self._outbox.clear()
        self._outbox.append(self._failure)
        self._end(self._failure.reason, self._failure.text)

    def _end(self, reason: ResetReason | None, text: str = "") -> None:
        if self.path is PathState.ENDED:
            return
        self._move(Move.END)
        self._deadline = None
        if reason is not None:
            self._discard()
        self.incoming.discard()
        self._events.append(Ended(reason, text))

    def _discard(self) -> None:
        self._credit_at = None
        self.outgoing.discard()
        self.incoming.discard()
