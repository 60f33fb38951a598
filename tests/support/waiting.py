"""Waiting for something to happen, with a deadline, instead of sleeping for a while and hoping."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import gevent
from gevent.event import Event

T = TypeVar("T")


class Changes:
    """Wakes those who wait for something to change; they look for themselves whether it is what they want."""

    def __init__(self) -> None:
        self._next = Event()

    def happened(self) -> None:
        self._next.set()
        self._next = Event()

    def wait_until(self, ready: Callable[[], T], within: float, what: str) -> T:
        """The first true value of `ready()`, asked again after each change. Raises TimeoutError naming `what`."""
        deadline = time.monotonic() + within
        while not (value := ready()):
            if not self._next.wait(deadline - time.monotonic()):
                raise TimeoutError(f"not within {within} s: {what}")
        return value


def poll(ready: Callable[[], T], within: float, what: str, every: float = 0.02) -> T:
    """The first true value of `ready()`, for what cannot tell of its changes (a file, /proc)."""
    deadline = time.monotonic() + within
    while not (value := ready()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {within} s: {what}")
        gevent.sleep(every)
    return value
