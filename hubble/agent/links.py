"""The agent's present link to the proxy, for the parts that need it."""

from __future__ import annotations

import time

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
        self._since = 0.0

    def set(self, link: Link, resumable: bool) -> None:
        """The proxy has accepted the registration on `link`."""
        self.meters.registrations += 1
        self.link = link
        self._since = time.monotonic()
        self.resumable = resumable

    def clear(self) -> None:
        """The link is gone."""
        self.link = None

    @property
    def is_young(self) -> bool:
        """Whether the link has just been made, so that other agents may not be back yet."""
        return time.monotonic() - self._since < SETTLING
