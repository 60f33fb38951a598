"""Long computations in short slices, so that links and timers run in between.

Monitoring must not slow down traffic: a walk over thousands of sessions takes milliseconds, and while one greenlet
computes, no other greenlet of its worker runs.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import gevent

Item = TypeVar("Item")

SLICE = 0.0003
"""Seconds of computation after which other greenlets run. Shorter slices would cost them more cache misses."""
CHUNK = 64

_resumed: WeakKeyDictionary[Any, float] = WeakKeyDictionary()
"""The time at which each greenlet last resumed after it had yielded."""


def others_first() -> None:
    """Yield until everything that is ready has run: messages waiting in sockets, and timers that are due."""
    gevent.idle(priority=1)  # `gevent.sleep(0)` would return before the event loop has polled sockets
    _resumed[gevent.getcurrent()] = time.perf_counter()


def others_if_due() -> None:
    """Call `others_first` if a slice has passed since this greenlet last resumed."""
    now = time.perf_counter()
    if now - _begun(now) >= SLICE:
        others_first()


def in_slices(items: Iterable[Item]) -> Iterator[Item]:
    """Yield the items, and let other greenlets run between two items whenever a slice has passed.

    The caller's work on each item counts towards the slice, and so does its work just before. Other greenlets must not
    change `items` meanwhile.
    """
    begun = _begun(time.perf_counter())
    for item in items:
        yield item
        if time.perf_counter() - begun >= SLICE:
            others_first()
            begun = time.perf_counter()


def _begun(now: float) -> float:
    """Return the start of this greenlet's slice: now, if it resumed so long ago that it must have waited since."""
    resumed = _resumed.setdefault(gevent.getcurrent(), now)
    if now - resumed > 10 * SLICE:
        _resumed[gevent.getcurrent()] = resumed = now
    return resumed


def in_chunks(items: Sequence[Item], size: int = CHUNK) -> Iterator[Sequence[Item]]:
    """Yield the items in chunks, with pauses as in `in_slices`, for items that each take little time."""
    return in_slices(items[start : start + size] for start in range(0, len(items), size))
