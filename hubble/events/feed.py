"""Passes events to loggers. Each has its own greenlet, so that none affects a session or another logger."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

import gevent
from gevent.event import Event as Flag

from hubble.base.keepalive import keep_running
from hubble.base.slices import others_first
from hubble.events.model import Event

log = logging.getLogger(__name__)

QUEUE_SIZE = 20_000
"""Events that may wait for a logger; further ones are dropped and counted."""
BATCH = 1_000
COMPLAINT_INTERVAL = 60.0
"""Seconds between log lines about the failures of one logger."""


class EventLogger(Protocol):
    """An object that can be installed. Its method may block its greenlet, and may raise."""

    def log(self, event: Event) -> None:
        """Handle one event."""


class Feed:
    """The queue of one logger, and the greenlet that empties it.

    A logger may have optional members: `log_all(events)` replaces `log`, `reopen()` is called when the proxy reloads,
    `close()` at the end, and `dropped` (a number) is added to the feed's own count.
    """

    def __init__(self, logger: EventLogger, name: str = "", *, size: int = QUEUE_SIZE) -> None:
        self.name = name or type(logger).__name__
        self.failures = 0
        """The number of exceptions that the logger raised."""
        self._logger = logger
        self._size = size
        self._waiting: deque[Event] = deque()
        self._overflowed = 0
        self._there = Flag()
        self._idle = Flag()
        self._idle.set()
        self._complained = -COMPLAINT_INTERVAL
        self._greenlet = keep_running(f"event logger {self.name}", self._run)

    @property
    def dropped(self) -> int:
        """The number of events that were lost."""
        return self._overflowed + int(getattr(self._logger, "dropped", 0))

    @property
    def waiting(self) -> int:
        """The number of waiting events."""
        return len(self._waiting)

    def put(self, event: Event) -> None:
        """Queue an event. Never blocks, never raises."""
        if len(self._waiting) >= self._size:
            self._overflowed += 1
            self._complain("is too slow: events are dropped")
            return
        self._waiting.append(event)
        if not self._there.is_set():
            self._there.set()
            self._idle.clear()

    def reopen(self) -> None:
        """Tell the logger to reopen its files."""
        self._guarded(getattr(self._logger, "reopen", _nothing))

    def close(self, timeout: float) -> None:
        """Log the waiting events, for at most `timeout` seconds, and stop. The remaining ones count as dropped."""
        self._idle.wait(timeout)
        self._overflowed += len(self._waiting)
        self._waiting.clear()
        self._greenlet.kill(timeout=1.0)
        with gevent.Timeout(2.0, False):
            self._guarded(getattr(self._logger, "close", _nothing))

    def _run(self) -> None:
        while True:
            self._there.wait()
            while self._waiting:
                self._log(self._take())
            self._there.clear()
            self._idle.set()

    def _take(self) -> list[Event]:
        waiting = self._waiting
        return [waiting.popleft() for _ in range(min(len(waiting), BATCH))]

    def _log(self, events: list[Event]) -> None:
        log_all = getattr(self._logger, "log_all", None)
        if log_all is not None:
            self._guarded(lambda: log_all(events))
            others_first()
            return
        for event in events:
            self._guarded(lambda event=event: self._logger.log(event))  # type: ignore[misc]  # the default is no argument
            others_first()

    def _guarded(self, work: Callable[[], object]) -> None:
        try:
            work()
        except Exception as error:  # a user's logger can raise anything
            self.failures += 1
            self._complain(f"failed: {type(error).__name__}: {error}")

    def _complain(self, what: str) -> None:
        now = time.monotonic()
        if now - self._complained >= COMPLAINT_INTERVAL:
            self._complained = now
            log.error("event logger %s %s (%d events dropped so far)", self.name, what, self.dropped)


class Events:
    """The loggers of one proxy, and the loggers of the whole process."""

    def __init__(self) -> None:
        self._feeds: list[Feed] = []
        self._of_process: dict[int, Feed] = {}

    def install(self, logger: EventLogger, name: str = "") -> Feed:
        """Send every event from now on to `logger`."""
        feed = Feed(logger, name)
        self._feeds.append(feed)
        return feed

    def log(self, event: Event) -> None:
        """Queue the event for every logger. Never blocks, never raises."""
        for feed in self._feeds:
            feed.put(event)
        if _installed or self._of_process:
            for feed in self._process_feeds():
                feed.put(event)

    def feeds(self) -> list[Feed]:
        """Return the feeds of this proxy, then those of the process."""
        return [*self._feeds, *self._process_feeds()]

    def reopen(self) -> None:
        """Tell every logger to reopen its files."""
        for feed in self.feeds():
            feed.reopen()

    def close(self, timeout: float = 3.0) -> None:
        """Log the waiting events, for at most `timeout` seconds in all, and release the loggers."""
        feeds = self.feeds()
        gevent.joinall([gevent.spawn(feed.close, timeout) for feed in feeds])
        self._feeds.clear()
        self._of_process.clear()

    def _process_feeds(self) -> list[Feed]:
        for logger in _installed:
            if id(logger) not in self._of_process:
                self._of_process[id(logger)] = Feed(logger)
        return list(self._of_process.values())


_installed: list[EventLogger] = []


def install_event_logger(logger: EventLogger) -> None:
    """Send every event of every proxy in this process to `logger.log(event)`.

    The calls run in their own greenlet. An exception is logged. Up to 20,000 events wait for a slow logger; further
    ones are dropped and counted. Installing a logger twice has no effect. Raises TypeError.
    """
    if not callable(getattr(logger, "log", None)):
        raise TypeError(f"{logger!r} is not an event logger: it has no method log(event)")
    if not any(known is logger for known in _installed):
        _installed.append(logger)


def remove_event_logger(logger: EventLogger) -> None:
    """Undo `install_event_logger` for proxies that start later."""
    _installed[:] = [known for known in _installed if known is not logger]


def _nothing() -> None:
    """Stand in for an optional method that a logger lacks."""
