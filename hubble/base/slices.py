"""Long computing in short slices, between which links and timers have their turn.

Who looks on must not hold up what is looked at: a walk over thousands of sessions takes milliseconds, and while one
greenlet computes, nothing else in its worker runs.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import gevent

Item = TypeVar("Item")

SLICE = 0.0003
"""Seconds of computing after which the others have their turn. Each turn costs them what the caches held, too."""
CHUNK = 64

_resumed: WeakKeyDictionary[Any, float] = WeakKeyDictionary()
"""When each greenlet came back from the others' last turn."""


def others_first() -> None:
    """Come back when all that is ready by now has run: messages that wait in sockets, and timers that are due."""
    gevent.idle(priority=1)  # `gevent.sleep(0)` would come back before the event loop has looked at them
    _resumed[gevent.getcurrent()] = time.perf_counter()


def others_if_due() -> None:
    """The same, if a slice has passed since the others' last turn."""
    now = time.perf_counter()
    if now - _begun(now) >= SLICE:
        others_first()


def in_slices(items: Iterable[Item]) -> Iterator[Item]:
    """The items; the others have their turn between two of them whenever a slice has passed.

    What the caller does with each counts, and what it did just before. Things change meanwhile: `items` should be
    nothing that others change.
    """
    begun = _begun(time.perf_counter())
    for item in items:
        yield item
        if time.perf_counter() - begun >= SLICE:
            others_first()
            begun = time.perf_counter()


def _begun(now: float) -> float:
    """When this greenlet's slice has begun; if its last turn is long ago, it has waited for something else since."""
    resumed = _resumed.setdefault(gevent.getcurrent(), now)
    if now - resumed > 10 * SLICE:
        _resumed[gevent.getcurrent()] = resumed = now
    return resumed


def in_chunks(items: Sequence[Item], size: int = CHUNK) -> Iterator[Sequence[Item]]:
    """The same, several at a time: for items of which each takes next to nothing."""
    return in_slices(items[start : start + size] for start in range(0, len(items), size))
