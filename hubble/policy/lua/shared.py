"""What all runs of a script share: memory, and lines in the log."""

from __future__ import annotations

import logging
import time

logger = logging.getLogger("hubble.policy.lua")


class MemoryPool:
    """Bytes that the values of all runs may take together.

    Only one run computes at a time: what the others hold stays the same meanwhile, and the rest is for that one.
    """

    def __init__(self, size: int) -> None:
        self._free = size

    def allowance(self, held: int, limit: int) -> int:
        """Return how many bytes a run that holds `held` may come to hold: at most `limit`, and at least 1."""
        return max(1, min(limit, held + max(0, self._free)))

    def change(self, before: int, after: int) -> None:
        """Note that a run holds `after` bytes, and no longer `before`."""
        self._free -= after - before


class LineAllowance:
    """Lines that scripts may log in each second; those beyond are counted, and told in one line."""

    def __init__(self, lines: int) -> None:
        self._lines = lines
        self._since = 0.0
        self._written = 0
        self._more = 0

    def take(self) -> bool:
        """Return whether one more line may be logged now."""
        now = time.monotonic()
        if now - self._since >= 1:
            if self._more:
                logger.warning("scripts logged %s more lines than the %d a second that are written",
                               f"{self._more:,}", self._lines)  # fmt: skip
            self._since, self._written, self._more = now, 0, 0
        if self._written >= self._lines:
            self._more += 1
            return False
        self._written += 1
        return True
