"""A lock for each key."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from contextlib import contextmanager

from gevent.lock import Semaphore


class KeyedLock:
    """A lock for each key. It exists only while a greenlet holds it or waits for it."""

    def __init__(self) -> None:
        self._locks: dict[Hashable, Semaphore] = {}
        self._wanted: dict[Hashable, int] = {}

    def __len__(self) -> int:
        return len(self._locks)

    @contextmanager
    def hold(self, key: Hashable) -> Iterator[None]:
        """Hold the key's lock for the block."""
        lock = self._locks.setdefault(key, Semaphore())
        self._wanted[key] = self._wanted.get(key, 0) + 1
        try:
            with lock:
                yield
        finally:
            self._wanted[key] -= 1
            if not self._wanted[key]:
                del self._locks[key], self._wanted[key]
