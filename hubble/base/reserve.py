"""File descriptors held in reserve, for what must work when this process has no other left."""

from __future__ import annotations

import os
from contextlib import suppress

from gevent import monkey

_close = monkey.get_original("os", "close")  # gevent's closes only when the hub has its turn


class DescriptorReserve:
    """Holds up to `count` descriptors of /dev/null."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._held: list[int] = []

    def fill(self) -> None:
        """Take descriptors until the reserve is complete or none is left."""
        with suppress(OSError):
            while len(self._held) < self._count:
                self._held.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))

    def release(self) -> bool:
        """Give up the reserve if fewer than `count` others are free. Return whether there was one to give up."""
        if not self._held or self._are_others_free():
            return False
        while self._held:
            _close(self._held.pop())
        return True

    def close(self) -> None:
        """Give up the reserve, and take no other."""
        self._count = 0
        while self._held:
            _close(self._held.pop())

    def _are_others_free(self) -> bool:
        others = DescriptorReserve(self._count)
        others.fill()
        enough = len(others._held) == self._count
        others.close()
        return enough
