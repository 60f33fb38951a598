"""The size of the pieces into which a sender cuts its bytes.

Long pieces are cheap. But a piece occupies its path while it travels, and everything else on the path waits. So a piece
is at most what the path carries in TURN seconds at the measured rate, within bounds.
"""

from __future__ import annotations

TURN = 0.05
"""Seconds that one piece may occupy the path."""
SHORTEST = 4 * 1024
LONGEST = 256 * 1024
FIRST = 16 * 1024
"""Bytes of a piece before the first measurement."""
SOONEST = 0.001
"""Seconds below which a rate is not measured but counts as fast."""


class Pace:
    """Measures a rate, and sizes pieces by it. Times are seconds of any clock."""

    __slots__ = ("_bytes", "_since", "size")

    def __init__(self, first: int = FIRST) -> None:
        self.size = first
        """The current limit of a piece in bytes."""
        self._since: float | None = None
        self._bytes = 0

    def begin(self, now: float) -> None:
        """Start measuring, unless a measurement is under way. The path is busy from now on."""
        if self._since is None:
            self._since, self._bytes = now, 0

    def moved(self, count: int) -> None:
        """Count bytes that the path has carried."""
        self._bytes += count

    def end(self, now: float) -> bool:
        """Adapt the size to the bytes carried since `begin`; return whether it changed."""
        since, self._since = self._since, None
        if since is None or not self._bytes:
            return False
        elapsed = now - since
        wanted = self._bytes * TURN / elapsed if elapsed > SOONEST else 2 * self.size
        size = SHORTEST
        while size < LONGEST and size * 2 <= wanted:
            size *= 2
        size = min(size, 4 * self.size)  # a burst that a buffer swallowed does not prove a fast path
        changed, self.size = size != self.size, size
        return changed
