"""The credit that a receiver grants: budgets of bytes, and the window of one direction, which grows as needed."""

from __future__ import annotations

INITIAL_WINDOW = 256 * 1024
LARGEST_WINDOW = 16 * 1024 * 1024
SMALLEST_WINDOW = 16 * 1024
"""The window of a session when the budgets are exhausted, so that every session makes progress."""
LONGEST_ROUND_TRIP = 0.5
"""Seconds. A longer measurement includes time in which the application had nothing to send."""
LONGEST_PATH = 4.0
"""Seconds. A longer round trip reported by an end is reduced to this."""
LINK_BUDGET = 64 * 1024 * 1024
PROCESS_BUDGET = 256 * 1024 * 1024


class Budget:
    """A budget of bytes for windows, within the budget of a `parent` that more sessions share."""

    def __init__(self, total: int, parent: Budget | None = None) -> None:
        self.total = total
        self.taken = 0
        self._parent = parent

    def take(self, amount: int) -> bool:
        """Take `amount` bytes here and from the parent. Return False, and take nothing, if either has too few left."""
        if self.taken + amount > self.total or (self._parent and not self._parent.take(amount)):
            return False
        self.taken += amount
        return True

    @property
    def exhausted(self) -> bool:
        """Whether no bytes are left."""
        return self.taken >= self.total or bool(self._parent and self._parent.exhausted)

    def charge(self, amount: int) -> None:
        """Take `amount` bytes even beyond the total."""
        self.taken += amount
        if self._parent:
            self._parent.charge(amount)

    def give(self, amount: int) -> None:
        """Return `amount` taken bytes to the budget."""
        assert amount <= self.taken
        self.taken -= amount
        if self._parent:
            self._parent.give(amount)


class Window:
    """The window of a sender: `limit` is the offset of the first byte that is not allowed yet.

    The window begins small. It doubles when half of it is drained within a round trip, because then the window limits
    the sender, not the receiver or the path. It settles at two to four times the bytes in flight on the path, which
    bounds the queues on the way. The round trip is the time that both links measured while idle. If that is unknown, it
    is the shortest time between a grant of credit and the arrival of the first byte that needed it. A time measured
    under load would include the queues, and let them grow.
    """

    def __init__(self, budget: Budget, initial: int = INITIAL_WINDOW, most: int = LARGEST_WINDOW) -> None:
        self._budget = budget
        self._most = most
        self.size = initial
        while self.size > SMALLEST_WINDOW and not budget.take(self.size):
            self.size = max(self.size // 2, SMALLEST_WINDOW)
        self._taken = self.size if self.size > SMALLEST_WINDOW else 0
        self.limit = self.size
        self._counted_from = 0
        self._counted_since: float | None = None
        self._probe: tuple[int, float] | None = None
        self._round_trip: float | None = None

    def arrived(self, end: int, now: float) -> None:
        """Record that bytes up to the offset `end` have arrived."""
        if self._counted_since is None:
            self._counted_since = now
        if self._probe and end > self._probe[0]:
            self.measured(now - self._probe[1])
            self._probe = None

    def measured(self, round_trip: float) -> None:
        """Record that a round trip between the two ends took at most `round_trip` seconds."""
        self._round_trip = min(round_trip, self._round_trip or LONGEST_ROUND_TRIP)

    def new_path(self, round_trip: float | None) -> None:
        """Start measuring a new path. `round_trip` is its round-trip time in seconds, or None if unknown."""
        self._round_trip = None if round_trip is None else min(round_trip, LONGEST_PATH)
        self._probe = None

    def grant(self, consumed: int, now: float) -> int:
        """Record that all bytes before the offset `consumed` are consumed. Return the new limit for the sender."""
        drained = consumed - self._counted_from
        if drained >= self.size // 2:
            if self._drains_fast(drained, now):
                self._grow()
            self._counted_from, self._counted_since = consumed, now
        if self._probe is None:
            self._probe = (self.limit, now)
        self.limit = max(self.limit, consumed + self.size)
        return self.limit

    def close(self) -> None:
        """Return the window's bytes to its budget."""
        self._budget.give(self._taken)
        self._taken = 0

    def _drains_fast(self, drained: int, now: float) -> bool:
        if self._round_trip is None or self._counted_since is None:
            return False
        return (now - self._counted_since) * (self.size // 2) < self._round_trip * drained

    def _grow(self) -> None:
        if self.size * 2 <= self._most and self._budget.take(self.size):
            self._taken += self.size
            self.size *= 2
