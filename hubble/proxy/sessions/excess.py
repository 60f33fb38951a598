"""What becomes of an agent that asks for more sessions than it may."""

from __future__ import annotations

import logging
import time

import gevent

from hubble.base.errors import LinkClosed
from hubble.transport.peer import Peer

log = logging.getLogger(__name__)

PATIENCE = 40
"""Seconds in a row of refusals beyond the bound, after which the link is closed.

All sessions of an agent may resume at once: at the default limits that takes half as long.
"""


class Excess:
    """The refused sessions of one peer. Beyond `most` in a second its link is not read for the rest of the second."""

    def __init__(self, peer: Peer, most: int) -> None:
        self._peer = peer
        self._most = most
        self._since = 0.0
        self._refused = 0
        self._told = 0
        self._seconds = 0
        self._was_held = False

    def count(self) -> int:
        """Count a refusal: how many there were since the last one to be told of, if this is to be; otherwise 0.

        One in a second is to be told of.
        """
        now = time.monotonic()
        self._told += 1
        if now - self._since < 1.0:
            self._refused += 1
            return 0
        goes_on = self._was_held and now - self._since < 2.0
        self._seconds = self._seconds + 1 if goes_on else 0
        self._since, self._refused, self._was_held = now, 1, False
        told, self._told = self._told, 0
        return told

    def hold_back(self, why: str) -> None:
        """Return once the link may be read on. Raises LinkClosed, and closes it, if this has gone on for PATIENCE."""
        if self._refused < self._most:
            return
        self._was_held = True
        log.warning("gateway %s: %d sessions refused in a second, its link waits: %s", self._peer.name, self._most, why)
        if self._seconds >= PATIENCE:
            self._peer.link.close(1008, why)
            self._peer.link.wait_closed(2.0)
            raise LinkClosed(why)
        gevent.sleep(max(0.0, self._since + 1.0 - time.monotonic()))
