"""The agent's link to the proxy, as those who need it see it: there, or to be waited for."""

from __future__ import annotations

import time

import gevent
from gevent.event import Event

from hubble.agent.metrics import Meters
from hubble.transport.link import Link

SETTLING = 3.0
"""Seconds in which agents are back after they have lost a proxy: until then a gateway may be merely late."""


class Links:
    """Holds the current link. `resumable` says whether the proxy at its other end understands the extension."""

    def __init__(self) -> None:
        self.link: Link | None = None
        self.resumable = False
        self.meters = Meters()
        self._there = Event()
        self._since = 0.0

    def set(self, link: Link, resumable: bool) -> None:
        """The proxy has accepted the registration on `link`."""
        self.meters.registrations += 1
        self.link = link
        self._since = time.monotonic()
        self.resumable = resumable
        self._there.set()

    def clear(self) -> None:
        """The link is gone."""
        self.link = None
        self._there.clear()

    @property
    def is_young(self) -> bool:
        """Whether the link has just been made, so that other agents may not be back yet."""
        return time.monotonic() - self._since < SETTLING

    def wait(self, timeout: float) -> Link | None:
        """The link, once there is one; None if there is none within `timeout` seconds."""
        with gevent.Timeout(timeout, False):
            while self.link is None:  # it may be lost again before its waiters run
                self._there.wait()
        return self.link
