"""Limits that apply regardless of the policy. A refusal is cheap, and states its reason.

A gateway's link is at one worker, so that worker enforces the limits per gateway for the whole proxy. For limits per
address, and for totals, each worker enforces its share.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, fields, replace

LEAST = 20
"""The smallest share of a limit across workers that one worker allows."""
REMEMBERED = 100_000
"""Keys that a meter remembers; the least recently used are forgotten first, and start with a full burst."""


@dataclass(frozen=True)
class AbuseLimits:
    """The limits of a worker.

    sessions, sessions_per_second: concurrent and new sessions of one gateway. registrations_per_minute: of one address.
    strangers: all links that have not sent a Handshake yet. The metadata names the option that sets a limit, and says
    whether the limit is `shared`: counted across the workers.
    """

    sessions: int = field(default=10_000, metadata={"option": "max_sessions"})
    sessions_per_second: int = field(default=500, metadata={"option": "max_rate"})
    registrations_per_minute: int = field(default=120, metadata={"option": "max_registrations", "shared": True})
    strangers: int = field(default=5_000, metadata={"option": "max_strangers", "shared": True})

    def share(self, workers: int) -> AbuseLimits:
        """Return the limits of one of several workers, with its share of each shared limit.

        Small numbers spread unevenly by chance, so a share is at least LEAST, or the whole limit if that is less.
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
        """Return whether another event of `key` is allowed now, and count it if it is."""
        now = self._clock()
        left, since = self._buckets.pop(key, (self._burst, now))
        left = min(self._burst, left + (now - since) * self._rate)
        allowed = left >= 1
        self._buckets[key] = (left - allowed, now)
        if len(self._buckets) > REMEMBERED:
            self._buckets.popitem(last=False)
        return allowed
