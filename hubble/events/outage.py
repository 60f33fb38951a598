"""Events that cannot be written: one log line when that begins, and one when it is over."""

from __future__ import annotations

import logging

log = logging.getLogger(__name__)


class Outage:
    """Counts events that were lost on their way to `place`, and logs the beginning and the end of it."""

    def __init__(self, place: str) -> None:
        self.lost = 0
        """How many events so far."""
        self._place = place
        self._lasts = False

    def failed(self, why: object, events: int) -> None:
        """So many events are lost."""
        self.lost += events
        if not self._lasts:
            log.error("events cannot be written to %s: %s", self._place, why)
        self._lasts = True

    def over(self) -> None:
        """Events were written."""
        if self._lasts:
            log.warning("events are written to %s again; %d were lost so far", self._place, self.lost)
        self._lasts = False
