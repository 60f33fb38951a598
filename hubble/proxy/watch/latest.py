"""The latest events of a worker, kept in memory for an operator who looks."""

from __future__ import annotations

from collections import deque
from itertools import takewhile
from typing import Any

from hubble.base.slices import in_slices
from hubble.events import Event, as_dict

LENGTH = 1_000


class LatestEvents:
    """An event logger that remembers the last LENGTH events. Each has a number, which grows by one."""

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
        """The latest events, at most `limit`, newest first, as JSON has them, each with its `number`.

        after: only those with a greater number. kinds: only these. about: only those with a field that is this text:
        a session's id, a gateway's name.
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
