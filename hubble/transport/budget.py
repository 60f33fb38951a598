"""A budget that refills over time: it allows bursts, but not for long."""

from __future__ import annotations

from collections.abc import Callable


class Budget:
    """A token bucket: allows `rate` a second over time, and `burst` at once."""

    __slots__ = ("_burst", "_clock", "_left", "_rate", "_since")

    def __init__(self, rate: float, burst: float, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._left = burst
        self._since = clock()

    def allows(self, cost: float) -> bool:
        """Return whether the budget covers `cost`, and spend it then. A negative cost is credited."""
        now = self._clock()
        left = self._left + (now - self._since) * self._rate
        self._since = now
        self._left = min(self._burst, left) - cost
        if self._left < 0:
            self._left += cost
            return False
        return True
