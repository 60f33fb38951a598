"""How much a receiver allows: budgets of bytes, and the window of one direction of a session, which grows by need."""

from __future__ import annotations

INITIAL_WINDOW = 256 * 1024
LARGEST_WINDOW = 16 * 1024 * 1024
SMALLEST_WINDOW = 16 * 1024
"""What a session gets where the budgets have nothing left: it always moves."""
LONGEST_ROUND_TRIP = 0.5
"""Seconds. What seems to take longer is the wait for an application that had nothing to send."""
LONGEST_PATH = 4.0
"""Seconds. A path whose ends claim to need longer is treated as if it needed this."""
LINK_BUDGET = 64 * 1024 * 1024
PROCESS_BUDGET = 256 * 1024 * 1024


class Budget:
    """Bytes that windows may take, within the budget of a `parent` that is shared more widely."""

    def __init__(self, total: int, parent: Budget | None = None) -> None:
        self.total = total
        self.taken = 0
        self._parent = parent

    def take(self, amount: int) -> bool:
        """Take `amount` bytes, from the parent too; False, and nothing taken, if either has too little."""
        if self.taken + amount > self.total or (self._parent and not self._parent.take(amount)):
            return False
        self.taken += amount
        return True

    @property
    def exhausted(self) -> bool:
        """Whether nothing is left to take."""
        return self.taken >= self.total or bool(self._parent and self._parent.exhausted)

    def charge(self, amount: int) -> None:
        """Take `amount` bytes, whether or not they are there."""
        self.taken += amount
        if self._parent:
            self._parent.charge(amount)

    def give(self, amount: int) -> None:
        """Give back `amount` bytes that were taken."""
        assert amount <= self.taken
        self.taken -= amount
        if self._parent:
            self._parent.give(amount)


class Window:
    """How far a sender may go: `limit` is the offset of the first byte that is not allowed yet.

    The window begins small and doubles when half of it is drained within a round trip: then it is the window, and
    neither the receiver nor the path, that holds the sender back. So it ends between two and four times what the path
    holds, and no more than that can stand in queues on the way. The round trip is what the two ends' links measured
    while they were idle, or the least time seen between granting credit and the arrival of the first byte that
    needed it: a time measured under load would count the queues too, and let them grow.
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
        """Bytes up to the offset `end` have arrived."""
        if self._counted_since is None:
            self._counted_since = now
        if self._probe and end > self._probe[0]:
            self.measured(now - self._probe[1])
            self._probe = None

    def measured(self, round_trip: float) -> None:
        """A round trip between the two ends has taken so many seconds, or less."""
        self._round_trip = min(round_trip, self._round_trip or LONGEST_ROUND_TRIP)

    def new_path(self, round_trip: float | None) -> None:
        """The bytes come another way from now on; its round trip in seconds if it is known."""
        self._round_trip = None if round_trip is None else min(round_trip, LONGEST_PATH)
        self._probe = None

    def grant(self, consumed: int, now: float) -> int:
        """Everything before the offset `consumed` was consumed: the new limit, which the sender is to be told."""
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
        """Give back what the window took from its budget."""
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
