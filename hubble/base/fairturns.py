"""Turns at a scarce resource, shared fairly among the parties that wait for it."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager

from gevent.event import Event

REMEMBERED = 10_000
"""Parties whose blame is remembered. The party blamed longest ago is forgotten first."""
FORGIVEN = 600.0
"""Seconds after its last blame when a party's blame is dropped."""


class Crowded(Exception):
    """No turn is available to this party now. A later attempt may succeed."""


class _Turn(Event):  # type: ignore[misc]  # the library has no types
    """A waiting turn. It is set when its turn has come, or when it is `refused` to make room for another party."""

    refused = False


class FairTurns:
    """Up to `at_once` turns at a time. The party with least blame is first; parties with equal blame rotate.

    At most `most` turns wait, and at most `most_each` of one party. When all places are taken, the newest turn of the
    worst party gives up its place to a party with less blame, or with equal blame and fewer waiting turns.
    """

    def __init__(self, at_once: int, most: int, most_each: int) -> None:
        self._free = at_once
        self._most = most
        self._most_each = most_each
        self._waiting: OrderedDict[str, deque[_Turn]] = OrderedDict()
        self._count = 0
        self._blame: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def __len__(self) -> int:
        return self._count

    @contextmanager
    def of(self, party: str, timeout: float) -> Iterator[None]:
        """Wait up to `timeout` seconds for a turn and hold it for the block. Raises Crowded."""
        turn = self._queued(party)
        try:
            self._grant()
            if not turn.wait(timeout) or turn.refused:
                raise Crowded
            yield
        finally:
            if turn.is_set() and not turn.refused:
                self._free += 1
                self._grant()
            else:
                self._leave(party, turn)

    def blame(self, party: str) -> None:
        """Record that this party wasted a turn."""
        self._blame[party] = (self._blamed(party) + 1, time.monotonic())
        self._blame.move_to_end(party)
        if len(self._blame) > REMEMBERED:
            self._blame.popitem(last=False)

    def _blamed(self, party: str) -> int:
        count, last = self._blame.get(party, (0, 0.0))
        return count if time.monotonic() - last < FORGIVEN else 0

    def _queued(self, party: str) -> _Turn:
        own = len(self._waiting.get(party, ()))
        if own >= self._most_each:
            raise Crowded
        if self._count >= self._most:
            self._make_room(party, own)
        turn = _Turn()
        self._waiting.setdefault(party, deque()).append(turn)
        self._count += 1
        return turn

    def _make_room(self, party: str, own: int) -> None:
        worst = max(self._waiting, key=lambda other: (self._blamed(other), len(self._waiting[other])))
        if (self._blamed(worst), len(self._waiting[worst])) <= (self._blamed(party), own + 1):
            raise Crowded
        turn = self._waiting[worst].pop()
        self._count -= 1
        if not self._waiting[worst]:
            del self._waiting[worst]
        turn.refused = True
        turn.set()

    def _grant(self) -> None:
        while self._free and self._waiting:
            party = min(self._waiting, key=self._blamed)  # the first in rotation among those with least blame
            turns = self._waiting.pop(party)
            turn = turns.popleft()
            if turns:
                self._waiting[party] = turns  # to the end of the rotation
            self._count -= 1
            self._free -= 1
            turn.set()

    def _leave(self, party: str, turn: _Turn) -> None:
        turns = self._waiting.get(party)
        if turns is None or turn not in turns:  # another party has its place
            return
        turns.remove(turn)
        self._count -= 1
        if not turns:
            del self._waiting[party]
