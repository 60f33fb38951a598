"""Turns at something scarce, shared out fairly among those who wait for it."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager

from gevent.event import Event

REMEMBERED = 10_000
"""Parties whose blame is remembered; those longest without any are forgotten first."""
FORGIVEN = 600.0
"""Seconds after its last blame when a party is as good as new."""


class Crowded(Exception):
    """There is no turn for this party now; later there may be."""


class _Turn(Event):  # type: ignore[misc]  # the library has no types
    """One that waits; set when its turn has come, `refused` when another party's needed its place."""

    refused = False


class FairTurns:
    """`at_once` turns at a time, to the party with least blame first; those with the same are served in rotation.

    At most `most` wait, of one party at most `most_each`. When all places are taken, a party with less blame, or with
    the same and fewer places, gets the place of the one with most.
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
        """Wait for a turn, at most `timeout` seconds, and hold it for the block. Raises Crowded."""
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
        """A turn of this party was wasted."""
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
            party = min(self._waiting, key=self._blamed)  # the first of those with least
            turns = self._waiting.pop(party)
            turn = turns.popleft()
            if turns:
                self._waiting[party] = turns  # behind all others
            self._count -= 1
            self._free -= 1
            turn.set()

    def _leave(self, party: str, turn: _Turn) -> None:
        turns = self._waiting.get(party)
        if turns is None or turn not in turns:  # its place went to another
            return
        turns.remove(turn)
        self._count -= 1
        if not turns:
            del self._waiting[party]
