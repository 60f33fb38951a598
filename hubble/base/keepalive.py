"""Greenlets that must not end: they restart after any error."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from contextlib import suppress

import gevent

from hubble.base.backoff import Backoff

log = logging.getLogger(__name__)

RETRY_FIRST, RETRY_MOST = 0.1, 1.0
"""The pause in seconds before the function is called again. It grows with each consecutive failure."""
STEADY = 30.0
"""Seconds without a failure after which the pause is reset to the shortest."""
LOG_INTERVAL = 10.0
"""Seconds between log lines about the failures of one greenlet."""
EXPECTED = (OSError, MemoryError)
"""Errors of a machine in trouble. Any other error is a bug, and its traceback is logged."""


def keep_running(name: str, function: Callable[..., object], *arguments: object) -> gevent.Greenlet:
    """Start and return a greenlet that calls the function, and calls it again after any error, until it returns.

    `name` names the greenlet in log lines.
    """
    return gevent.spawn(run_to_the_end, name, function, *arguments)


def run_to_the_end(name: str, function: Callable[..., object], *arguments: object) -> None:
    """Call the function, and call it again after any error, until it returns. `keep_running` runs it in a greenlet."""
    failures = _Failures(name)
    while True:
        started = time.monotonic()
        try:
            function(*arguments)
            return
        except (Exception, gevent.Timeout) as error:
            pause = failures.count(error, time.monotonic() - started)
        gevent.sleep(pause)  # outside the handler, so that objects the traceback refers to are free


class _Failures:
    """Counts the failures of one greenlet, and logs some of them."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._backoff = Backoff(RETRY_FIRST, RETRY_MOST, random.random)
        self._unlogged = 0
        self._logged_at = -LOG_INTERVAL

    def count(self, error: BaseException, seconds: float) -> float:
        """Record a failure of a call that ran for `seconds`. Return the pause before the next call, in seconds."""
        if seconds > STEADY:
            self._backoff.succeeded()
        pause = self._backoff.next_delay()
        self._unlogged += 1
        now = time.monotonic()
        if now - self._logged_at >= LOG_INTERVAL:
            self._logged_at = now
            with suppress(Exception):  # there may be no memory even for the line
                self._log(error, pause)
                self._unlogged = 0
        return pause

    def _log(self, error: BaseException, pause: float) -> None:
        more = f" (and {self._unlogged - 1} times before)" if self._unlogged > 1 else ""
        text = str(error) or type(error).__name__
        trace = None if isinstance(error, EXPECTED) else error
        log.error("%s failed%s: %s; retrying in %.1f s", self._name, more, text, pause, exc_info=trace)
