"""How long the pieces may be into which a sender cuts its bytes.

Long pieces are cheap. But a piece occupies its path for as long as it takes to travel, and whatever else uses the path
waits for it. So a piece is at most what travels in TURN seconds at the measured rate, within bounds.
"""

from __future__ import annotations

TURN = 0.05
"""Seconds that one piece may occupy the path."""
SHORTEST = 4 * 1024
LONGEST = 256 * 1024
FIRST = 16 * 1024
"""Bytes of a piece before anything was measured."""
SOONEST = 0.001
"""Seconds below which a rate is not measured but counts as fast."""


class Pace:
    """Measures a rate, and sizes pieces by it. Times are seconds of any clock."""

    __slots__ = ("_bytes", "_since", "size")

    def __init__(self, first: int = FIRST) -> None:
        self.size = first
        """Bytes that a piece may have now."""
        self._since: float | None = None
        self._bytes = 0

    def begin(self, now: float) -> None:
        """Begin to measure, unless that has begun: from now on the path is busy."""
        if self._since is None:
            self._since, self._bytes = now, 0

    def moved(self, count: int) -> None:
        """Count bytes that the path has taken."""
        self._bytes += count

    def end(self, now: float) -> bool:
        """Size the pieces by what was moved since `begin`; return whether their size has changed."""
        since, self._since = self._since, None
        if since is None or not self._bytes:
            return False
        elapsed = now - since
        wanted = self._bytes * TURN / elapsed if elapsed > SOONEST else 2 * self.size
        size = SHORTEST
        while size < LONGEST and size * 2 <= wanted:
            size *= 2
        size = min(size, 4 * self.size)  # one burst that a buffer has swallowed is not a fast path
        changed, self.size = size != self.size, size
        return changed
