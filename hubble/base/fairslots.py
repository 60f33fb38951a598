"""A bounded number of concurrent operations and a bounded queue of waiting ones, both shared fairly among keys.

A key is a party that must not crowd out others, such as a source address or a gateway. It may start another operation
while it runs at most twice as many operations as slots are free ("dynamic threshold"). A single key therefore gets two
thirds of the slots, and a new key always finds a free one. Keys take turns.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Item = TypeVar("Item")

SHARE = 2
"""The operations that a key may run for each free slot."""


class FairSlots(Generic[Item]):
    """At most `slots` operations run and at most `capacity` items wait. Does no I/O and starts no operation itself."""

    def __init__(self, slots: int, capacity: int) -> None:
        self._slots = slots
        self._capacity = capacity
        self._running: Counter[Hashable] = Counter()
        self._used = 0
        self._waiting: OrderedDict[Hashable, deque[Item]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        """Return the number of waiting items."""
        return self._count

    @property
    def used(self) -> int:
        """The number of slots in use."""
        return self._used

    def put(self, key: Hashable, item: Item) -> Item | None:
        """Queue an item. Return the item that a full queue drops, possibly the same one, or None.

        A full queue drops the newest item of the key with most items.
        """
        queue = self._waiting.setdefault(key, deque())
        queue.append(item)
        self._count += 1
        if self._count <= self._capacity:
            return None
        greediest = max(self._waiting, key=lambda each: (len(self._waiting[each]), each == key))
        dropped = self._waiting[greediest].pop()
        self._removed(greediest)
        return dropped

    def take(self) -> tuple[Hashable, Item] | None:
        """Assign a slot to the next item that may start. Return its key and the item, or None if no item may start."""
        for key in self._waiting:
            if self._used < self._slots and self._running[key] <= SHARE * (self._slots - self._used - 1):
                item = self._waiting[key].popleft()
                self._waiting.move_to_end(key)
                self._removed(key)
                self._running[key] += 1
                self._used += 1
                return key, item
        return None

    def release(self, key: Hashable) -> None:
        """Free a slot that `take` assigned to `key`."""
        self._used -= 1
        self._running[key] -= 1
        if not self._running[key]:
            del self._running[key]

    def remove(self, is_over: Callable[[Item], bool]) -> list[Item]:
        """Remove and return the waiting items for which `is_over` is true, oldest first for each key."""
        removed: list[Item] = []
        for key, queue in list(self._waiting.items()):
            verdicts = [(is_over(item), item) for item in queue]
            over = [item for is_over_now, item in verdicts if is_over_now]
            if over:
                self._waiting[key] = deque(item for is_over_now, item in verdicts if not is_over_now)
                removed += over
                self._removed(key, len(over))
        return removed

    def clear(self) -> list[Item]:
        """Remove and return all waiting items."""
        return self.remove(lambda item: True)

    def _removed(self, key: Hashable, count: int = 1) -> None:
        self._count -= count
        if not self._waiting[key]:
            del self._waiting[key]
