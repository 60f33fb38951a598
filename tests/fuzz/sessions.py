"""An end of a session, of either protocol, driven by numbers."""

from __future__ import annotations

from contextlib import suppress

from hubble.base.errors import ProtocolError
from hubble.protocol.credit import Budget, Window
from hubble.protocol.legacy.session import LegacySession
from hubble.protocol.messages import (
    ConnectionClosed,
    Credit,
    Data,
    Done,
    Eof,
    Message,
    Refusal,
    Reset,
    ResetReason,
    Stream,
    Suspend,
    Terminator,
    Terms,
)
from hubble.protocol.session import Session
from hubble.protocol.states import PathState
from tests.fuzz.sources import Numbers

SECRET = b"s" * 16
ID = bytes(16)
KEPT = 1 << 20
MOST_STEPS = 200
MOST_MESSAGES = 10_000


class Driven:
    """An end of a session, its clock, and what may be done to it."""

    def __init__(self, numbers: Numbers) -> None:
        self._numbers = numbers
        self._now = 0.0
        self._from_exit = bool(numbers.take() & 1)
        self._kept = Budget(KEPT)
        self._session = Session(
            ID,
            from_exit=self._from_exit,
            secret=SECRET,
            window=Window(Budget(1 << 20), 1 << 12, 1 << 16),
            keep=self._kept,
        )
        self._steps = [
            *(self._receive_stream, self._receive_credit, self._receive_eof, self._receive_other),
            *(self._write, self._finish, self._fail, self._consume, self._agree, self._lose, self._wait, self._refuse),
        ]

    def step(self) -> None:
        """Do what the next number says, and check what must always hold."""
        self._steps[self._numbers.take() % len(self._steps)]()
        self._say_all()
        session = self._session
        assert session.room >= 0 and session.waiting >= 0
        assert session.kept <= KEPT + (1 << 18)
        session.events()
        assert isinstance(session.finished, bool) and isinstance(session.stream_ended, bool)

    def _say_all(self) -> None:
        """Give out every message: their number is bounded by what was written and received."""
        for _ in range(MOST_MESSAGES):
            if self._session.next_message() is None:
                return
        raise AssertionError("the session does not stop talking")

    def _offset(self) -> int:
        """Near what is plausible, or anywhere."""
        choice, number = self._numbers.take(), self._numbers.take(2)
        around = {0: 0, 1: self._session.incoming.expected, 2: self._session.outgoing.end}.get(choice % 4)
        return max(0, around + number - 8) if around is not None else number << 47

    def _hear(self, message: Message) -> None:
        self._session.receive(message, self._now)

    def _receive_stream(self) -> None:
        self._hear(Stream(ID, not self._from_exit, self._offset(), b"x" * (self._numbers.take(2) % 5000 + 1)))

    def _receive_credit(self) -> None:
        self._hear(Credit(ID, not self._from_exit, self._offset(), self._offset()))

    def _receive_eof(self) -> None:
        self._hear(Eof(ID, not self._from_exit, self._offset()))

    def _receive_other(self) -> None:
        end = not self._from_exit
        others: list[Message] = [Done(ID, end), Suspend(ID, end), Reset(ID, end, ResetReason.UNSPECIFIED, "text")]
        self._hear(others[self._numbers.take() % len(others)])

    def _write(self) -> None:
        size = min(self._session.room, self._numbers.take(2))
        if size:
            self._session.write(b"y" * size)

    def _finish(self) -> None:
        if not self._session.outgoing.finished:
            self._session.finish()

    def _fail(self) -> None:
        if self._numbers.take() % 4 == 0:
            self._session.fail(ResetReason.LOCAL_RESET, "reset")

    def _consume(self) -> None:
        chunk = self._session.next_bytes(self._numbers.take(2) + 1)
        if chunk is not None:
            self._session.consumed(len(chunk), self._now)
        elif self._session.stream_ended:
            self._session.consumed(1, self._now)

    def _agree(self) -> None:
        """An Initiator has come, or an Ack."""
        session, attempt, received, limit = self._session, self._numbers.take(), self._offset(), self._offset()
        if self._from_exit:
            with suppress(ProtocolError):  # which the caller answers with a refusal
                session.accept(Terms(attempt + 1, received, limit, SECRET), self._now)
            return
        if session.path is PathState.WAITING:
            attempt = session.connect(self._now).attempt
        session.connected(Terms(max(1, attempt), received, limit), self._now)

    def _refuse(self) -> None:
        code = list(Refusal)[self._numbers.take() % len(Refusal)]
        self._session.refused(code, "refused", self._now, patient=bool(self._numbers.take() & 1))

    def _lose(self) -> None:
        self._session.path_lost(self._now, "lost")

    def _wait(self) -> None:
        self._now += self._numbers.take() / 4
        self._session.expire(self._now)


def play(numbers: Numbers) -> None:
    """Do to a new end of a session whatever the numbers say."""
    driven = Driven(numbers)
    for _ in range(MOST_STEPS):
        if not numbers:
            return
        driven.step()


def play_legacy(numbers: Numbers) -> None:
    """Do to a new end of a session of protocol 0.1 whatever the numbers say; an entry may be refused first."""
    session = LegacySession(ID, from_exit=bool(numbers.take() & 1), deadline=20.0)
    now, order = 0.0, 0
    for _ in range(MOST_STEPS):
        if not numbers:
            return
        action, argument = numbers.take() % 10, numbers.take()
        order += argument % 16 != 0  # a gap now and then
        now += argument / 256
        said: list[Message] = [Data(ID, order, bytes(argument)), Terminator(ID), ConnectionClosed(ID), Done(ID, True)]
        if action < 4:
            session.receive(said[action if argument % 8 == 0 else 0], now)
        elif action == 4 and session.room:
            session.write(bytes(argument + 1))
        elif action == 5:
            session.connected(None, now)
        elif action == 6 and argument % 4 == 0 and not session.finished:
            session.fail(ResetReason.LOCAL_RESET)
        elif action == 7:
            session.expire(now)
        elif action == 8 and argument % 4 == 0:
            session.path_lost(now, "lost")
        else:
            _deliver(session, now)
        while session.next_message():
            pass
        session.events()
        assert session.waiting >= 0


def _deliver(session: LegacySession, now: float) -> None:
    chunk = session.next_bytes()
    if chunk is not None:
        session.consumed(len(chunk), now)
    elif session.stream_ended:
        session.consumed(1, now)
