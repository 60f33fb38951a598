"""The agent's current link to the proxy, shared by the agent's parts."""

from __future__ import annotations

import time

from hubble.agent.metrics import Meters
from hubble.transport.link import Link

SETTLING = 3.0
"""Seconds that agents need to return after a proxy is lost. Until then a missing gateway may only be late."""


class Links:
    """Holds the current link. `resumable`: whether the proxy at its other end supports the extension."""

    def __init__(self) -> None:
        self.link: Link | None = None
        self.resumable = False
        self.meters = Meters()
        self._since = 0.0

    def set(self, link: Link, resumable: bool) -> None:
        """Set the current link, on which the proxy has accepted the registration."""
        self.meters.registrations += 1
        self.link = link
        self._since = time.monotonic()
        self.resumable = resumable

    def clear(self) -> None:
        """Remove the current link after its loss."""
        self.link = None

    @property
    def is_young(self) -> bool:
        """Whether the link is so new that other agents may not have returned yet."""
        return time.monotonic() - self._since < SETTLING
