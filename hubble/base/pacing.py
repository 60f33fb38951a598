"""Start greenlets for a burst of requests in slices, so that links and timers run in between.

A greenlet for each of hundreds of requests that arrive together would run before anything else does: the hub runs what
was spawned for up to 5 ms before it looks at its sockets again.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from functools import partial

import gevent
from gevent.pool import Group

from hubble.base.slices import SLICE, others_if_due


class PacedSpawner:
    """Spawns functions in slices of SLICE seconds. Keys, such as the links that requests came from, take turns.

    The queue itself is unbounded: the caller limits the requests of each key.
    """

    def __init__(self) -> None:
        self._waiting: OrderedDict[Hashable, deque[Callable[[], object]]] = OrderedDict()
        self._greenlets = Group()
        self._runner: gevent.Greenlet | None = None
        self._last = 0.0

    def spawn(self, key: Hashable, function: Callable[..., object], *arguments: object) -> None:
        """Call the function in a greenlet of its own: at once if nothing was spawned lately, else in its turn."""
        now = time.perf_counter()
        if not self._waiting and now - self._last >= SLICE:
            self._last = now
            self._greenlets.spawn(function, *arguments)
            return
        self._waiting.setdefault(key, deque()).append(partial(function, *arguments))
        if self._runner is None or self._runner.dead:
            self._runner = gevent.spawn(self._run)

    def kill(self) -> None:
        """Forget what waits, and kill what runs."""
        self._waiting.clear()
        self._greenlets.kill()

    def _run(self) -> None:
        while self._waiting:
            key, queue = self._waiting.popitem(last=False)
            work = queue.popleft()
            if queue:
                self._waiting[key] = queue  # behind all others
            self._greenlets.spawn(work)
            gevent.sleep(0)  # returns once it has run, to where it waits
            others_if_due()
        self._last = time.perf_counter()
