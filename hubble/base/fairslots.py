"""A bounded number of operations at once, and a bounded queue for those that wait, both shared fairly among keys.

A key is whoever must not crowd out the others: a source address, a gateway. A key may start another operation while it
runs at most twice as many as there are free slots ("dynamic threshold"): alone it gets two thirds of the slots, and a
newcomer always finds a free one. Keys take turns.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Item = TypeVar("Item")

SHARE = 2
"""A key may run this many operations for each slot that is free."""


class FairSlots(Generic[Item]):
    """`slots` operations at once; at most `capacity` items wait. Does no I/O and starts nothing by itself."""

    def __init__(self, slots: int, capacity: int) -> None:
        self._slots = slots
        self._capacity = capacity
        self._running: Counter[Hashable] = Counter()
        self._used = 0
        self._waiting: OrderedDict[Hashable, deque[Item]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        """How many items wait."""
        return self._count

    @property
    def used(self) -> int:
        """How many slots are in use."""
        return self._used

    def put(self, key: Hashable, item: Item) -> Item | None:
        """Queue an item; return the item that a full queue drops for it, which may be the same.

        The newest item of the key that has most of them is dropped.
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
        """Return the next item that may start, with its key, and give it a slot; None if none may."""
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
        """Give back a slot that `take` gave to `key`."""
        self._used -= 1
        self._running[key] -= 1
        if not self._running[key]:
            del self._running[key]

    def remove(self, is_over: Callable[[Item], bool]) -> list[Item]:
        """Remove and return the waiting items that are over, each key's oldest first."""
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
