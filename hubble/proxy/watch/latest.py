"""The latest events of a worker, kept in memory for operators."""

from __future__ import annotations

from collections import deque
from itertools import takewhile
from typing import Any

from hubble.base.slices import in_slices
from hubble.events import Event, as_dict

LENGTH = 1_000


class LatestEvents:
    """An event logger that remembers the last LENGTH events and numbers them consecutively."""

    def __init__(self, length: int = LENGTH) -> None:
        self._events: deque[tuple[int, Event]] = deque(maxlen=length)
        self._number = 0

    def log(self, event: Event) -> None:
        """Remember an event."""
        self.log_all([event])

    def log_all(self, events: list[Event]) -> None:
        """Remember events."""
        for event in events:
            self._number += 1
            self._events.append((self._number, event))

    def latest(
        self, limit: int, *, after: int = 0, kinds: frozenset[str] = frozenset(), about: str = ""
    ) -> list[dict[str, Any]]:
        """Return at most `limit` of the latest events as JSON objects with their `number`, newest first.

        after: select events with a greater number. kinds: select these kinds, or all if empty. about: select events
        whose session, source or gateway is this text.
        """
        found: list[dict[str, Any]] = []
        newer = list(takewhile(lambda numbered: numbered[0] > after, reversed(self._events)))
        for number, event in in_slices(newer):
            if len(found) == limit:
                break
            if kinds and event.name not in kinds:
                continue
            fields = as_dict(event)
            if about and about not in (fields.get("session"), fields.get("source"), fields.get("gateway")):
                continue
            found.append({**fields, "number": number})
        return found
