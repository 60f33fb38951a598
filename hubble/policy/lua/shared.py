"""The memory and the log lines that all runs of a script share."""

from __future__ import annotations

import logging
import time

logger = logging.getLogger("hubble.policy.lua")


class MemoryPool:
    """The bytes that the values of all runs may use together.

    Only one run computes at a time. The memory of the others does not change meanwhile, and the rest is free for it.
    """

    def __init__(self, size: int) -> None:
        self._free = size

    def allowance(self, held: int, limit: int) -> int:
        """Return the limit for a run that uses `held` bytes: at most `limit`, and at least 1."""
        return max(1, min(limit, held + max(0, self._free)))

    def change(self, before: int, after: int) -> None:
        """Record that the memory of a run changed from `before` to `after` bytes."""
        self._free -= after - before


class LineAllowance:
    """The lines that scripts may log in each second. One line reports the number of the others."""

    def __init__(self, lines: int) -> None:
        self._lines = lines
        self._since = 0.0
        self._written = 0
        self._more = 0

    def take(self) -> bool:
        """Return whether another line may be logged now."""
        now = time.monotonic()
        if now - self._since >= 1:
            if self._more:
                logger.warning(
                    "scripts exceeded %d log lines a second: %s lines dropped", self._lines, f"{self._more:,}"
                )
            self._since, self._written, self._more = now, 0, 0
        if self._written >= self._lines:
            self._more += 1
            return False
        self._written += 1
        return True
