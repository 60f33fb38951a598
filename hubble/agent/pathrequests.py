"""Sessions that wait for a path and are asked for again: after a link was lost, or after a refusal.

Thousands may wait when a link is back, and a proxy bounds how many Initiators of an agent are unanswered and how many
come in a second. So at most WINDOW are unanswered, shared fairly among gateways: an exit that is offline is answered
for late. The window shrinks when the proxy refuses one as busy.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import gevent
from gevent.event import Event

from hubble.agent.connection import Connection
from hubble.agent.links import Links
from hubble.base.fairslots import FairSlots
from hubble.base.slices import others_if_due
from hubble.protocol.states import PathState
from hubble.transport.link import Link

WINDOW = 500
"""Initiators that may be unanswered at once, besides those of new sessions. A proxy allows 2,000 in all."""
LEAST = 32
"""The window after refusals."""
GROWTH = 0.25
"""By how much each session that gets its path widens the window."""
PAUSE = 0.2
"""Seconds for which nothing is asked for after the proxy refused a session as busy."""

Ask = Callable[[Connection, Link], None]
"""Sends a session's Initiator."""


class PathRequests:
    """Asks for a path for each session that is added, in its turn. Its queue is bounded by the number of sessions."""

    def __init__(self, links: Links, ask: Ask) -> None:
        self._links = links
        self._ask = ask
        self._slots = FairSlots[Connection](WINDOW, sys.maxsize)
        self._queued: set[bytes] = set()
        self._asked: dict[bytes, object] = {}
        self._window = float(WINDOW)
        self._is_paused = False
        self._wake = Event()

    @property
    def unanswered(self) -> int:
        """How many Initiators are unanswered."""
        return len(self._asked)

    def add(self, connection: Connection, gateway: str) -> None:
        """Ask for a path for the session in its turn. More than once does no harm."""
        if connection.session.id not in self._queued:
            self._queued.add(connection.session.id)
            self._slots.put(gateway, connection)
            self._wake.set()

    def answered(self, session: bytes) -> None:
        """Note that a session was granted, refused, or is over. More than once does no harm."""
        key = self._asked.pop(session, None)
        if key is not None:
            self._slots.release(key)
            self._wake.set()

    def granted(self) -> None:
        """Note that a session has its path."""
        self._window = min(WINDOW, self._window + GROWTH)

    def busy(self) -> None:
        """Ask for less: a session was refused because of a limit."""
        if not self._is_paused:
            self._window = max(LEAST, self._window / 2)
            self._is_paused = True
            gevent.spawn_later(PAUSE, self._go_on)

    def link_lost(self) -> None:
        """Forget everything: nothing is answered any more, and each session is added again when there is a link."""
        self._slots.clear()
        self._queued.clear()
        while self._asked:
            self._slots.release(self._asked.popitem()[1])
        self._window = float(WINDOW)

    def run(self) -> None:
        """Ask until killed."""
        while True:
            self._wake.wait()
            self._wake.clear()
            while (link := self._links.link) is not None and self._may_ask():
                taken = self._slots.take()
                if taken is None:
                    break
                self._start(*taken, link)
                others_if_due()

    def _go_on(self) -> None:
        self._is_paused = False
        self._wake.set()

    def _may_ask(self) -> bool:
        return self.unanswered < self._window and not self._is_paused

    def _start(self, gateway: object, connection: Connection, link: Link) -> None:
        session = connection.session
        self._queued.discard(session.id)
        self._asked[session.id] = gateway
        try:
            if session.path is PathState.WAITING:
                self._ask(connection, link)
        finally:
            if session.path is not PathState.CONNECTING:
                self.answered(session.id)
