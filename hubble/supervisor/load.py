"""The number of connections of each worker, in memory that the supervisor and all workers share.

The worker with the fewest connections should accept the next one from the shared listener. The kernel does not know
these numbers. It wakes any waiting worker, so a restarted worker would get only an equal share of the new connections.
"""

from __future__ import annotations

import mmap
import os

from hubble.base.errors import HubbleError

ABSENT = -1
"""The number of a worker that does not run or does not accept."""
WIDTH = 4
SLACK = 2
SHARE_OF_SLACK = 16
"""Numbers that differ by at most SLACK plus 1/SHARE_OF_SLACK of the smaller count as equal."""


class LoadTable:
    """The numbers of all `workers`, in the anonymous file `descriptor` or a new one. Raises HubbleError."""

    def __init__(self, workers: int, descriptor: int | None = None) -> None:
        try:
            self.descriptor = os.memfd_create("hubble load") if descriptor is None else descriptor
            if descriptor is None:
                os.ftruncate(self.descriptor, workers * WIDTH)
            self._numbers = memoryview(mmap.mmap(self.descriptor, workers * WIDTH)).cast("i")
        except OSError as error:
            raise HubbleError(f"cannot allocate shared memory for the workers: {error.strerror}") from error
        if descriptor is None:
            for worker in range(workers):
                self.set(worker, ABSENT)

    def set(self, worker: int, connections: int) -> None:
        """Set a worker's number of connections, or ABSENT."""
        self._numbers[worker] = connections

    def __getitem__(self, worker: int) -> int:
        return self._numbers[worker]

    def present(self) -> list[int]:
        """Return the numbers of the workers that accept."""
        return [number for number in self._numbers if number != ABSENT]


class Load:
    """The load of one worker, used by that worker."""

    def __init__(self, table: LoadTable, worker: int) -> None:
        self._table = table
        self._worker = worker

    def set(self, connections: int) -> None:
        """Set this worker's number of connections."""
        self._table.set(self._worker, connections)

    def withdraw(self) -> None:
        """Record that this worker has stopped accepting."""
        self._table.set(self._worker, ABSENT)

    def is_above_others(self) -> bool:
        """Return whether another worker has clearly fewer connections."""
        fewest = min(self._table.present(), default=0)
        return self._table[self._worker] > _at_most(fewest)

    def excess(self) -> int:
        """Return the number of connections beyond this worker's share, or 0 if they are too few to move."""
        own, present = self._table[self._worker], self._table.present()
        share = sum(present) // max(1, len(present))
        return own - share if own > _at_most(share) else 0


def _at_most(number: int) -> int:
    """Return the largest number that counts as equal to `number`: accepting fast matters more than an exact balance."""
    return number + SLACK + number // SHARE_OF_SLACK
