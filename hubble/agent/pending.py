"""The queue of connections that an entry has accepted and whose sessions are not opened yet.

A connection waits for a link to the proxy, for one of `OPENING` slots for unanswered sessions, and for a later attempt
when the proxy or the exit is too busy. Sources share the queue fairly (`FairSlots`). The queue is bounded in number
(`max_pending`) and time (`link_wait`). A connection is dropped when its client disconnects.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import NamedTuple

import gevent
from gevent.event import Event

from hubble.agent.connection import reset
from hubble.agent.links import Links
from hubble.agent.listeners.interface import Accepted
from hubble.base.fairslots import FairSlots
from hubble.base.floodlog import FloodLog
from hubble.base.slices import in_slices, others_if_due
from hubble.transport.link import Link
from hubble.transport.liveness import is_client_gone

log = logging.getLogger(__name__)

OPENING = 256
"""Sessions that an entry may be opening at a time."""
PAUSE = 0.2
"""Seconds without new sessions after the proxy refused one because of a limit."""

Open = Callable[[Accepted, Link], bytes]
"""Opens a session for a connection and returns its id. Raises OSError if the connection is lost."""


class _Opening(NamedTuple):
    source: object
    since: float


class PendingConnections:
    """A fair queue of at most `capacity` connections. `open_session` is called for each connection in turn."""

    def __init__(self, links: Links, open_session: Open, capacity: int, patience: float) -> None:
        self._links = links
        self._flood_log = FloodLog(log)
        self._open = open_session
        self._patience = patience
        self._queue = FairSlots[Accepted](OPENING, capacity)
        self._opening: dict[bytes, _Opening] = {}
        self._is_paused = False
        self._wake = Event()

    def __len__(self) -> int:
        """Return the number of waiting connections."""
        return len(self._queue)

    def add(self, accepted: Accepted) -> None:
        """Queue a connection. A full queue drops the newest connection of the source with most of them."""
        dropped = self._queue.put(accepted.source, accepted)
        if dropped is not None:
            self._drop(dropped, "too many connections wait for a session")
        self._wake.set()

    def wake(self) -> None:
        """Continue: a link is available."""
        self._wake.set()

    def pause(self) -> None:
        """Open no session for PAUSE seconds, because a limit of the proxy is reached."""
        if not self._is_paused:
            self._is_paused = True
            gevent.spawn_later(PAUSE, self._go_on)

    def _go_on(self) -> None:
        self._is_paused = False  # no time is compared: a timer may be early by the clock
        self._wake.set()

    def may_wait(self, session: bytes) -> bool:
        """Return whether a session that was refused because of a limit may be retried."""
        opening = self._opening.get(session)
        return opening is not None and time.monotonic() - opening.since < self._patience

    def answered(self, session: bytes) -> None:
        """Free the slot of a session that is open or over. Repeated calls do nothing."""
        opening = self._opening.pop(session, None)
        if opening is not None:
            self._queue.release(opening.source)
            if self._queue:
                self._wake.set()

    def expire(self, now: float) -> None:
        """Drop the connections that have waited too long, or whose clients have disconnected."""
        over = self._queue.remove(lambda each: now - each.at >= self._patience or is_client_gone(each.sock))
        for accepted in in_slices(over):
            if now - accepted.at < self._patience:
                _reset(accepted)
                continue
            what = "link to the proxy" if self._links.link is None else "session could be opened"
            self._drop(accepted, f"no {what} within {self._patience:g} s")

    def close(self) -> None:
        """Reset all waiting connections."""
        for accepted in self._queue.clear():
            _reset(accepted)

    def run(self) -> None:
        """Open sessions until killed."""
        while True:
            self._wake.wait()
            self._wake.clear()
            while (link := self._links.link) is not None and not self._is_paused:
                taken = self._queue.take()
                if taken is None:
                    break
                self._start(*taken, link)
                others_if_due()

    def _start(self, source: object, accepted: Accepted, link: Link) -> None:
        try:
            if is_client_gone(accepted.sock):
                raise ConnectionResetError
            self._opening[self._open(accepted, link)] = _Opening(source, accepted.at)
        except BaseException as error:
            self._queue.release(source)
            _reset(accepted)
            if not isinstance(error, OSError):
                raise

    def _drop(self, accepted: Accepted, why: str) -> None:
        self._flood_log.log(
            logging.WARNING, "connections refused", accepted.source,
            "rule %s: refused %s: %s", accepted.rule, accepted.client, why,
        )  # fmt: skip
        _reset(accepted)


def _reset(accepted: Accepted) -> None:
    try:
        reset(accepted.sock)
    except OSError:  # already disconnected
        accepted.sock.close()
