"""Long computing in short slices, between which links and timers have their turn.

Who looks on must not hold up what is looked at: a walk over thousands of sessions takes milliseconds, and while one
greenlet computes, nothing else in its worker runs.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

import gevent

Item = TypeVar("Item")

SLICE = 0.0003
"""Seconds of computing after which the others have their turn."""
CHUNK = 64


def others_first() -> None:
    """Come back when all that is ready by now has run: messages that wait in sockets, and timers that are due."""
    gevent.idle(priority=1)  # `gevent.sleep(0)` would come back before the event loop has looked at them


def in_slices(items: Iterable[Item]) -> Iterator[Item]:
    """The items; the others have their turn between two of them whenever a slice has passed.

    What the caller does with each counts. Things change meanwhile: `items` should be nothing that others change.
    """
    begun = time.perf_counter()
    for item in items:
        yield item
        if time.perf_counter() - begun >= SLICE:
            others_first()
            begun = time.perf_counter()


def in_chunks(items: Sequence[Item], size: int = CHUNK) -> Iterator[Sequence[Item]]:
    """The same, several at a time: for items of which each takes next to nothing."""
    return in_slices(items[start : start + size] for start in range(0, len(items), size))
