"""One resumable session as one of its two ends sees it: a state machine without I/O and without a clock.

The shell around it moves bytes. It calls `write`, `finish` and `fail` for what its local socket does, `receive` for
each message of the session, `path_lost` when its link is gone, and `expire` once `deadline` has passed. After each
call it sends what `next_message` gives, writes to the local socket what `next_bytes` gives, telling `consumed`, and
heeds `events`.

The path between the two ends has the states of `Path`. The entry drives: it connects, and connects again when the
path was lost. The exit answers. What may happen in which state stands in `PATHS`; anything else changes nothing.
"""

from __future__ import annotations

import hmac
from collections import deque

from hubble.base.errors import ProtocolError
from hubble.protocol.credit import Budget, Window
from hubble.protocol.interface import SEND_AT_MOST
from hubble.protocol.messages import Credit, Done, Eof, Message, Refusal, Reset, ResetReason, Stream, Suspend, Terms
from hubble.protocol.states import PATHS, Ended, Move, Opened, PathState, Resumed, SessionEvent, Suspended
from hubble.protocol.streams import Chunk, Incoming, Outgoing, OutOfStep

RESUME_TIMEOUT = 60.0
"""Seconds a session waits for its path to come back."""
OPEN_TIMEOUT = 30.0
"""Seconds an entry waits for the first Ack of a session."""
LATE_CREDIT = 0.2
"""Seconds after which the sender hears even of few bytes consumed: it keeps them, and may have no budget for more."""
TRY_AGAIN = frozenset({Refusal.NO_GATEWAY, Refusal.BUSY, Refusal.LIMIT})
"""Refusals that may not be repeated when the entry asks again a little later."""


class Session:
    """See the module. `secret` is 16 bytes; `from_exit` says which end this is; times are seconds of any clock.

    `window` is the credit for what arrives; `keep` is the budget for what is kept until it was consumed.
    """

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
        self.id = session_id
        self.from_exit = from_exit
        self.path = PathState.WAITING
        self.established = False
        """Whether both ends have ever agreed on a path."""
        self.link_round_trip = 0.0
        """Seconds that this end's link to the proxy takes for a round trip at best; the shell sets it if it knows."""
        self.outgoing = Outgoing(keep)
        self.incoming = Incoming(window)
        self.resumptions = 0
        self._secret = secret
        self._resume_timeout = resume_timeout
        self._attempt = 0
        self._asked = False
        """Whether the exit may have the session, as far as the entry knows."""
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
        """When `expire` must be called, or None."""
        if self._deadline is None or self._credit_at is None:
            return self._deadline if self._credit_at is None else self._credit_at
        return min(self._deadline, self._credit_at)

    @property
    def resumable(self) -> bool:
        """Whether the session survives the loss of its path: it does."""
        return True

    @property
    def may_downgrade(self) -> bool:
        """Whether an Ack without terms turns this session into one of protocol 0.1: before it was ever open."""
        return self.path is PathState.CONNECTING and not self.established

    # What the local application does.

    @property
    def room(self) -> int:
        """How many bytes may be written now."""
        return 0 if self._is_over or not self.established else self.outgoing.room

    def write(self, data: bytes) -> None:
        """The application has sent `data`: at most `room` bytes, at least one. Dropped if the session is over."""
        if not self._is_over:
            self.outgoing.write(data)

    def finish(self) -> None:
        """The application has ended its stream; it may go on receiving."""
        if not self._is_over:
            self.outgoing.finish()

    def fail(self, reason: ResetReason, text: str = "") -> None:
        """The application, or its socket, is gone: the other side must see a reset.

        The session ends at once if the other side can be told now, or will learn it by asking; an entry without a
        path stays until it has one and has told it, or until its deadline.
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
        """The other end cannot resume: another kind of session takes this one's place, before a byte has flowed."""
        self._move(Move.END)
        self._discard()

    # What the path does.

    def connect(self, now: float) -> Terms:
        """The terms of an Initiator by which the entry asks for a path, for the first time or again."""
        assert not self.from_exit
        self._move(Move.CONNECT)
        self._outbox.clear()
        self._attempt += 1
        self._asked = True
        self._start_clock(now)
        return self._terms(secret=self._secret, resume=self.established)

    def connected(self, terms: Terms | None, now: float) -> bool:
        """An Ack has accepted the entry's Initiator. False, and nothing happens, if it answers an older one."""
        if self.path is not PathState.CONNECTING or terms is None or terms.attempt != self._attempt:
            return False
        self._agree(terms, now)
        return True

    def refused(self, code: Refusal, text: str, now: float, *, patient: bool = False) -> bool:
        """An Ack has refused the entry's Initiator. True if the entry should try again before its deadline.

        A session that was open does if the exit may come back, or a limit may allow it later; one that is new only if
        the entry is `patient`.
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
        """An Initiator has come for the exit's session, the first or one that resumes: the terms of its Ack.

        None if the Initiator must not be answered: it is older than one already answered. Raises ProtocolError if
        its secret is wrong or its offsets are impossible; the caller refuses it, and the session stays as it was.
        """
        assert self.from_exit
        if terms is None:
            raise ProtocolError("an Initiator of protocol 0.1 for a resumable session")
        if not hmac.compare_digest(terms.secret, self._secret):
            raise ProtocolError("the secret is wrong")
        if self.path is PathState.ENDED:
            raise ProtocolError("the session has ended")
        if terms.attempt <= self._attempt:
            return None
        if not self.outgoing.can_rewind(terms.received):
            raise ProtocolError(f"resumption from offset {terms.received} is impossible")
        self._attempt = terms.attempt
        if self.path is PathState.OPEN:
            self._lost_at = now
        self._agree(terms, now)
        return self._terms()

    def path_lost(self, now: float, why: str) -> None:
        """The link is gone, or the other side is out of reach: wait for another path."""
        if self.path is PathState.ENDED:
            return
        self._start_clock(now)
        if self.path is PathState.OPEN:
            self._events.append(Suspended(why))
        self._move(Move.LOSE)
        self._outbox.clear()

    def expire(self, now: float) -> None:
        """Time has passed: tell the sender what it was not told yet; give the session up if its time has come."""
        if self._credit_at is not None and now >= self._credit_at:
            self._tell_credit(now, late=True)
        if self._deadline is None or now < self._deadline:
            return
        if self._failure or self.finished:
            self._end(self._failure.reason if self._failure else None)
        else:
            self._end(ResetReason.NOT_RESUMED, "not resumed in time")

    # What the other side says.

    def receive(self, message: Message, now: float) -> None:
        """A message of this session has arrived. What cannot be meant resets the session."""
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
            case Reset() if self.finished:  # The other side did not hear of it in time; nothing is lost.
                self._end(None)
            case Reset():
                self._discard()
                self._end(message.reason, message.text or "reset by the other side")
            case _ if self.path is not PathState.OPEN or self._failure:
                pass  # Left over from a path given up: the other side sends it again.
            case Stream():
                self.incoming.receive(message.offset, message.payload, now)
            case Eof():
                self.incoming.receive_end(message.offset)
            case Done():
                self._receive_done(now)
            case Suspend():
                self.path_lost(now, "the other side is out of reach")
                if self.from_exit:  # It may be about an older path: an entry that has this one open must ask again.
                    self._outbox.append(Suspend(self.id, self.from_exit))
            case _:
                raise ProtocolError(f"{type(message).__name__} has no place in a session")

    # What the shell is to do.

    def next_message(self, most: int = SEND_AT_MOST) -> Message | None:
        """The next message to send, or None for now: with at most `most` bytes of the stream, or nothing of it if 0."""
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
        """The next bytes for the local socket, about `most` of them, or None for now; then call `consumed`."""
        return self.incoming.take(most)

    def consumed(self, amount: int, now: float) -> None:
        """`amount` bytes have reached the local socket; the end of the stream, once `ended`, counts as 1."""
        if self._is_over:
            return
        self.incoming.consume(amount)
        self._tell_credit(now)
        self._settle(now)

    @property
    def unsent(self) -> bool:
        """Whether something of the application's stream is still to be sent."""
        return self.outgoing.unsent

    @property
    def waiting(self) -> int:
        """How many bytes wait for the local socket."""
        return self.incoming.waiting

    @property
    def kept(self) -> int:
        """How many sent bytes are kept until the other side has consumed them."""
        return self.outgoing.kept

    @property
    def overfull(self) -> bool:
        """Whether the link's reader must wait for this session: never, since credit bounds what waits here."""
        return False

    @property
    def stream_ended(self) -> bool:
        """Whether all bytes were given out, and the local socket is to be told the end of the stream."""
        return self.incoming.ended and not self.incoming.complete and not self._is_over

    @property
    def finished(self) -> bool:
        """Whether both directions are complete: the local socket is needed no more."""
        return self.incoming.complete and self.outgoing.complete

    @property
    def has_news(self) -> bool:
        """Whether there are events, or messages besides those of the application's stream."""
        return bool(self._outbox or self._events)

    def events(self) -> list[SessionEvent]:
        """What has happened since the last call."""
        happened, self._events = self._events, []
        return happened

    # Inner workings.

    def _move(self, move: Move) -> None:
        following = PATHS.get((self.path, move))
        if following is None:
            raise AssertionError(f"{move} in state {self.path}")
        self.path = following

    @property
    def _is_over(self) -> bool:
        """Whether the application's bytes matter no more."""
        return self.path is PathState.ENDED or self._failure is not None

    def _tell_credit(self, now: float, late: bool = False) -> None:
        credit = self.incoming.credit(now, late)
        if credit or not self.incoming.untold:
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
        """Both ends know each other's offsets: go on from there."""
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
        """Say Done once everything is consumed on both sides; end once both have said it."""
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
            raise ProtocolError("the other side is done, but this one is not")
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
