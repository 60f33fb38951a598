"""Throttles an agent that requests more sessions than it is allowed."""

from __future__ import annotations

import logging
import time

import gevent

from hubble.transport.peer import Peer

log = logging.getLogger(__name__)

PATIENCE = 40
"""Consecutive seconds with refusals beyond the limit, after which the link is closed.

When all sessions of an agent resume at once, that takes half as long at the default limits.
"""


class Excess:
    """The refused sessions of one peer. After `most` in a second, its link is not read for the rest of the second."""

    def __init__(self, peer: Peer, most: int) -> None:
        self._peer = peer
        self._most = most
        self._since = 0.0
        self._refused = 0
        self._unreported = 0
        self._seconds = 0
        self._was_held = False

    def count(self) -> int:
        """Count a refusal; return the number of refusals to report now, or 0.

        One report is due per second; it covers all refusals since the last report.
        """
        now = time.monotonic()
        self._unreported += 1
        if now - self._since < 1.0:
            self._refused += 1
            return 0
        goes_on = self._was_held and now - self._since < 2.0
        self._seconds = self._seconds + 1 if goes_on else 0
        self._since, self._refused, self._was_held = now, 1, False
        unreported, self._unreported = self._unreported, 0
        return unreported

    def hold_back(self, why: str) -> None:
        """Stop reading the link until this second is over; close the link after PATIENCE."""
        link = self._peer.link
        if self._refused < self._most or link.closed:  # the last messages of a closed link come in spite of the pause
            return
        self._was_held = True
        log.warning("gateway %s throttled: %d sessions refused in a second: %s", self._peer.name, self._most, why)
        link.pause()
        if self._seconds >= PATIENCE:
            link.close(1008, why)
        else:
            gevent.spawn_later(max(0.0, self._since + 1.0 - time.monotonic()), link.resume)
