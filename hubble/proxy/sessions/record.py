"""What a worker knows of one session whose entry is there."""

from __future__ import annotations

from dataclasses import dataclass, field

import gevent

from hubble.base.facts import PublicFacts
from hubble.protocol.direction import Direction
from hubble.proxy.sessions.routes import Route


@dataclass(eq=False, slots=True)
class Record:
    """One session: what identifies it, since when it is open (seconds since 1970), and how much has passed."""

    session: bytes
    facts: PublicFacts
    resumes: bool
    received: int
    """Bytes of the exit's stream that the entry has already."""
    asked: float
    """When it was asked for, by the monotonic clock."""
    attempt: int = 1
    """Which request of its entry this is, the first included."""
    opened: float = 0.0
    suspended: float | None = None
    """Since when it has no path."""
    resumptions: int = 0
    route: Route | None = None
    rate: tuple[float, float] = (0.0, 0.0)
    """Bytes a second in either direction, of late."""
    measured: tuple[int, int] = (0, 0)
    """Bytes that had passed when `rate` was measured."""
    base: list[int] = field(default_factory=lambda: [0, 0])
    """What the receivers had when the path was set up; by direction."""
    ends: list[int | None] = field(default_factory=lambda: [None, None])
    """Where the streams end, if that is known; by direction."""
    moving: gevent.Greenlet | None = None
    """Fetches what another worker knows of the session."""

    def passed(self, direction: Direction) -> int:
        """Bytes of one stream that have passed, each counted once."""
        total = self.base[direction] + (self.route.halves[direction].passed if self.route is not None else 0)
        end = self.ends[direction]
        return total if end is None else min(total, end)
