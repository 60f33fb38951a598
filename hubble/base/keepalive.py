"""Greenlets that must not end: they go on after any error."""

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
"""Seconds before the function is called again; the pause grows with each failure in a row."""
STEADY = 30.0
"""Seconds without a failure after which the pause is the shortest again."""
LOG_INTERVAL = 10.0
"""Seconds between log lines about the failures of one greenlet."""
EXPECTED = (OSError, MemoryError)
"""What a machine in trouble raises; anything else is a mistake of ours, and its traceback is logged."""


def keep_running(name: str, function: Callable[..., object], *arguments: object) -> gevent.Greenlet:
    """Return a greenlet that calls the function, and calls it again after any error until it returns or is killed.

    `name` stands in the log.
    """
    return gevent.spawn(run_to_the_end, name, function, *arguments)


def run_to_the_end(name: str, function: Callable[..., object], *arguments: object) -> None:
    """Call the function, and call it again after any error until it returns: what `keep_running` has a greenlet do."""
    failures = _Failures(name)
    while True:
        started = time.monotonic()
        try:
            function(*arguments)
            return
        except (Exception, gevent.Timeout) as error:
            pause = failures.count(error, time.monotonic() - started)
        gevent.sleep(pause)  # outside the handler: what the traceback holds is free by now


class _Failures:
    """Counts the failures of one greenlet, and logs some of them."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._backoff = Backoff(RETRY_FIRST, RETRY_MOST, random.random)
        self._unlogged = 0
        self._logged_at = -LOG_INTERVAL

    def count(self, error: BaseException, seconds: float) -> float:
        """Note a failure that came after so many seconds; returns those to wait."""
        if seconds > STEADY:
            self._backoff.succeeded()
        pause = self._backoff.next_delay()
        self._unlogged += 1
        now = time.monotonic()
        if now - self._logged_at >= LOG_INTERVAL:
            self._logged_at = now
            with suppress(Exception):  # no memory even for the line
                self._log(error, pause)
                self._unlogged = 0
        return pause

    def _log(self, error: BaseException, pause: float) -> None:
        more = f" (and {self._unlogged - 1} times before)" if self._unlogged > 1 else ""
        text = str(error) or type(error).__name__
        trace = None if isinstance(error, EXPECTED) else error
        log.error("%s failed%s: %s; retrying in %.1f s", self._name, more, text, pause, exc_info=trace)
