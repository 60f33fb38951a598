"""What nobody may have too much of, whatever the policy says. A refusal costs little, and says why.

A gateway's link is at one worker, so what is counted for a gateway is counted there for the whole proxy. What is
counted for an address, or in all, each worker bounds for itself at its share.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, fields, replace

LEAST = 20
"""What each worker allows at least of that which is counted across workers."""
REMEMBERED = 100_000
"""Keys that a meter remembers; those longest unused are forgotten first, and begin anew."""


@dataclass(frozen=True)
class AbuseLimits:
    """For one gateway: sessions at once, and new ones a second. For one address: registrations a minute.

    strangers: links in all that have not said yet who they are. The metadata name the option that sets a limit, and say
    whether it is `shared`: counted across the workers.
    """

    sessions: int = field(default=10_000, metadata={"option": "max_sessions"})
    sessions_per_second: int = field(default=500, metadata={"option": "max_rate"})
    registrations_per_minute: int = field(default=120, metadata={"option": "max_registrations", "shared": True})
    strangers: int = field(default=5_000, metadata={"option": "max_strangers", "shared": True})

    def share(self, workers: int) -> AbuseLimits:
        """What one of several workers may allow of that which is counted across them.

        Chance spreads what is few unevenly: a share that would be very small is LEAST, or the whole if that is less.
        """
        shared = (one.name for one in fields(self) if one.metadata.get("shared"))
        return replace(self, **{name: _share(getattr(self, name), workers) for name in shared})


def _share(whole: int, workers: int) -> int:
    return max(whole // workers, min(whole, LEAST))


class Meter:
    """Allows each key `rate` events a second over time, and `burst` at once (a token bucket)."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._buckets: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def allows(self, key: Hashable) -> bool:
        """Whether another event of `key` is allowed now; if so it is counted."""
        now = self._clock()
        left, since = self._buckets.pop(key, (self._burst, now))
        left = min(self._burst, left + (now - since) * self._rate)
        allowed = left >= 1
        self._buckets[key] = (left - allowed, now)
        if len(self._buckets) > REMEMBERED:
            self._buckets.popitem(last=False)
        return allowed
