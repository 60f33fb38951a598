"""The record of one session, kept by the worker of its entry."""

from __future__ import annotations

from dataclasses import dataclass, field

import gevent

from hubble.base.facts import PublicFacts
from hubble.protocol.direction import Direction
from hubble.proxy.sessions.routes import Route


@dataclass(eq=False, slots=True)
class Record:
    """One session: its identity, the times of its events (seconds since 1970), and its byte counts."""

    session: bytes
    facts: PublicFacts
    resumes: bool
    received: int
    """Bytes of the exit's stream that the entry had received when it sent the request."""
    asked: float
    """The time of the request, by the monotonic clock."""
    attempt: int = 1
    """The number of this request among the requests of its entry, from 1."""
    opened: float = 0.0
    suspended: float | None = None
    """The time the session lost its path, or None while it has one."""
    resumptions: int = 0
    route: Route | None = None
    rate: tuple[float, float] = (0.0, 0.0)
    """Recent bytes a second, by direction."""
    measured: tuple[int, int] = (0, 0)
    """Bytes that had passed when `rate` was last computed, by direction."""
    base: list[int] = field(default_factory=lambda: [0, 0])
    """Bytes that the receivers had when the path was set up, by direction."""
    ends: list[int | None] = field(default_factory=lambda: [None, None])
    """The offsets at which the streams end, by direction; None while unknown."""
    moving: gevent.Greenlet | None = None
    """The greenlet that fetches the session's record from another worker."""

    def passed(self, direction: Direction) -> int:
        """Return how many bytes of one stream have passed, each counted once."""
        total = self.base[direction] + (self.route.halves[direction].passed if self.route is not None else 0)
        end = self.ends[direction]
        return total if end is None else min(total, end)
