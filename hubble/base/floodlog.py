"""Log lines about strangers: a few for each kind and network in an interval. The rest are counted.

A stranger can cause any number of these lines. The first few are written; further ones within the interval are
summed up in one line: "and 5,312 more".
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gevent

from hubble.base.networks import network_of

INTERVAL = 10.0
"""Seconds after which lines are written again."""
BURST = 3
"""Lines of one kind and network written in an interval."""
PER_KIND = 10
"""Networks with lines of their own in an interval, for each kind. Lines about other networks are only counted."""
OTHER_NETWORKS = ""
"""The network of a line without an address, and of lines about networks beyond PER_KIND."""


@dataclass
class _Entry:
    level: int
    written: int = 0
    more: int = 0


class FloodLog:
    """A logger whose lines have a `kind` (one of a few constant texts) and a source address.

    Memory is bounded: PER_KIND entries for each kind, and one for all other networks.
    """

    def __init__(
        self, logger: logging.Logger, *, interval: float = INTERVAL, later: Callable[..., object] = gevent.spawn_later
    ) -> None:
        self._logger = logger
        self._interval = interval
        self._later = later
        self._entries: dict[tuple[str, str], _Entry] = {}
        self._networks: dict[str, int] = {}
        """The number of networks of each kind with an entry of their own."""
        self._ends = 0.0

    def log(self, level: int, kind: str, address: str, message: str, *arguments: object, **more: Any) -> None:
        """Write the line, or count it if its kind and network have had BURST lines in this interval. Never raises.

        The arguments are formatted only if the line is written. `more` is passed on to the logger.
        """
        if not self._logger.isEnabledFor(level):
            return
        now = time.monotonic()
        if now >= self._ends:
            self._begin(now)
        entry = self._entry(kind, network_of(address), level)
        if entry.written < BURST:
            entry.written += 1
            self._logger.log(level, message, *arguments, **more)
        else:
            entry.more += 1

    def tell(self) -> None:
        """Write one line for each kind and network with counted lines, and start a new interval."""
        entries, self._entries = self._entries, {}
        self._networks.clear()
        for (kind, network), entry in entries.items():
            if entry.more:
                where = f" from {network}" if network else ""
                self._logger.log(entry.level, "%s: and %s more%s", kind, f"{entry.more:,}", where)

    def _entry(self, kind: str, network: str, level: int) -> _Entry:
        """Return the entry of the network, or the one of all other networks beyond PER_KIND."""
        entry = self._entries.get((kind, network))
        if entry is None and self._networks.get(kind, 0) >= PER_KIND:
            return self._entries.setdefault((kind, OTHER_NETWORKS), _Entry(level, written=BURST))
        if entry is None:
            entry = self._entries[kind, network] = _Entry(level)
            self._networks[kind] = self._networks.get(kind, 0) + 1
        return entry

    def _begin(self, now: float) -> None:
        self.tell()
        self._ends = now + self._interval
        self._later(self._interval, self.tell)
