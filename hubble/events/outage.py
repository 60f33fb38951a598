"""Logs the start and the end of a failure to write events, instead of each lost event."""

from __future__ import annotations

import logging

log = logging.getLogger(__name__)


class Outage:
    """Counts events that could not be written to `place`, and logs the start and the end of the failure."""

    def __init__(self, place: str) -> None:
        self.lost = 0
        """The number of lost events so far."""
        self._place = place
        self._lasts = False

    def failed(self, why: object, events: int) -> None:
        """Record that `events` more events are lost."""
        self.lost += events
        if not self._lasts:
            log.error("cannot write events to %s: %s", self._place, why)
        self._lasts = True

    def over(self) -> None:
        """Record that events were written."""
        if self._lasts:
            log.warning("writing events to %s works again; %d events lost so far", self._place, self.lost)
        self._lasts = False
