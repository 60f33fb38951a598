"""How many connections each worker has: one number each, in memory that the supervisor and all workers share.

Whoever accepts from a listener that all share should be the one with the fewest. The kernel does not know: it wakes
whoever waits, which is the idlest, and after a restart the one that has just come would get no more than its share of
what comes anew.
"""

from __future__ import annotations

import mmap
import os

from hubble.base.errors import HubbleError

ABSENT = -1
"""Of a worker that does not run, or does not accept."""
WIDTH = 4
SLACK = 2
SHARE_OF_SLACK = 16
"""Numbers that differ by SLACK and a SHARE_OF_SLACKth are as good as equal."""


class LoadTable:
    """The numbers of `workers`, in the anonymous file `descriptor`, or in a new one. Raises HubbleError."""

    def __init__(self, workers: int, descriptor: int | None = None) -> None:
        try:
            self.descriptor = os.memfd_create("hubble load") if descriptor is None else descriptor
            if descriptor is None:
                os.ftruncate(self.descriptor, workers * WIDTH)
            self._numbers = memoryview(mmap.mmap(self.descriptor, workers * WIDTH)).cast("i")
        except OSError as error:
            raise HubbleError(f"there is no memory that the workers could share: {error.strerror}") from error
        if descriptor is None:
            for worker in range(workers):
                self.set(worker, ABSENT)

    def set(self, worker: int, connections: int) -> None:
        """So many has this worker now, or ABSENT."""
        self._numbers[worker] = connections

    def __getitem__(self, worker: int) -> int:
        return self._numbers[worker]

    def present(self) -> list[int]:
        """The numbers of those that accept."""
        return [number for number in self._numbers if number != ABSENT]


class Load:
    """The number of one of them, for itself."""

    def __init__(self, table: LoadTable, worker: int) -> None:
        self._table = table
        self._worker = worker

    def set(self, connections: int) -> None:
        """So many has this worker now."""
        self._table.set(self._worker, connections)

    def withdraw(self) -> None:
        """This worker accepts no more."""
        self._table.set(self._worker, ABSENT)

    def is_above_others(self) -> bool:
        """Whether another worker has clearly fewer."""
        fewest = min(self._table.present(), default=0)
        return self._table[self._worker] > _at_most(fewest)

    def excess(self) -> int:
        """How many connections this worker has beyond its share; 0 while that is not worth a move."""
        own, present = self._table[self._worker], self._table.present()
        share = sum(present) // max(1, len(present))
        return own - share if own > _at_most(share) else 0


def _at_most(number: int) -> int:
    """What is as good as `number`: within that, being quick matters more than being even."""
    return number + SLACK + number // SHARE_OF_SLACK
