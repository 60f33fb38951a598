"""An exit's dials to destinations: bounded in number, fair among entry gateways, with a bounded queue."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from hubble.base.errors import DialError, OutOfDescriptors
from hubble.base.fairslots import FairSlots
from hubble.base.pacing import PacedSpawner
from hubble.protocol.messages import Initiator, Refusal
from hubble.transport.addresses import Socket
from hubble.transport.resolver import is_address

WAITING = 1_000
"""Initiators that may wait for a dial."""

Connect = Callable[[Initiator], Socket]
"""Connects to an Initiator's destination. Raises DialError."""


class _Outcome(NamedTuple):
    sock: Socket | None
    code: Refusal = Refusal.UNSPECIFIED
    text: str = ""


class Dialled(NamedTuple):
    """The result of an Initiator: a connected socket, or the refusal to send."""

    initiator: Initiator
    sock: Socket | None
    code: Refusal
    text: str


class Dials:
    """Run up to `most` dials at a time. Calls `done` once for each Initiator, in any order."""

    def __init__(self, most: int, patience: float, connect: Connect, done: Callable[[Dialled], None]) -> None:
        self._most = most
        self._patience = patience
        self._connect = connect
        self._done = done
        self._queue = FairSlots[bytes](most, WAITING)
        self._initiators: dict[bytes, Initiator] = {}
        self._since: dict[bytes, float] = {}
        self._spawner = PacedSpawner()

    def __len__(self) -> int:
        """Return the number of Initiators that are being dialed or wait."""
        return len(self._initiators)

    def get(self, session: bytes) -> Initiator | None:
        """Return the Initiator of a session that is being dialed or waits, or None."""
        return self._initiators.get(session)

    def replace(self, initiator: Initiator) -> None:
        """Replace the Initiator of a session by a later one, which is answered in its place."""
        self._initiators[initiator.session] = initiator

    def add(self, initiator: Initiator) -> None:
        """Dial or queue an Initiator. A full queue refuses the newest one of the gateway with most in it."""
        self._initiators[initiator.session] = initiator
        self._since[initiator.session] = time.monotonic()
        key = initiator.source, is_address(initiator.host)  # names that do not resolve must not delay addresses
        dropped = self._queue.put(key, initiator.session)
        if dropped is not None:
            self._finish(dropped, None, Refusal.BUSY, f"more than {WAITING} sessions wait for a dial at this exit")
        self._start()

    def expire(self, now: float) -> None:
        """Refuse the Initiators that have waited too long."""
        for session in self._queue.remove(lambda each: now - self._since[each] >= self._patience):
            busy = f"this exit runs {self._most} dials already; none ended within {self._patience:g} s"
            self._finish(session, None, Refusal.BUSY, busy)

    def close(self) -> None:
        """End all dials, and drop the waiting Initiators without an answer."""
        self._queue.clear()
        self._spawner.kill()

    def _start(self) -> None:
        while (taken := self._queue.take()) is not None:
            self._spawner.spawn(None, self._dial, *taken)

    def _dial(self, key: object, session: bytes) -> None:
        dialled = _Outcome(None, Refusal.BUSY, "the exit failed to dial")
        try:
            dialled = self._try(session)
        finally:
            self._queue.release(key)
            try:
                self._finish(session, *dialled)
            finally:
                self._start()

    def _try(self, session: bytes) -> _Outcome:
        try:
            return _Outcome(self._connect(self._initiators[session]))
        except OutOfDescriptors as error:
            return _Outcome(None, Refusal.BUSY, str(error))
        except DialError as error:
            return _Outcome(None, Refusal.DIAL_FAILED, str(error))

    def _finish(self, session: bytes, sock: Socket | None, code: Refusal, text: str) -> None:
        del self._since[session]
        self._done(Dialled(self._initiators.pop(session), sock, code, text))
