"""What the page shows, sent to it again and again as server-sent events."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import gevent

from hubble.proxy.admin.service import Admin, nodes, status
from hubble.proxy.history import INTERVAL as PERIOD

INTERVAL = 2.0
GATEWAYS = 50
EVENTS = 100
MOST = 8
"""Streams at a time."""


class Streams:
    """The pages that look on."""

    def __init__(self, admin: Admin) -> None:
        self._admin = admin
        self._open = 0
        self.ending = False

    @property
    def full(self) -> bool:
        """Whether there are as many as may be."""
        return self._open >= MOST

    def follow(self, query: dict[str, Any]) -> Iterator[bytes]:
        """One page's events: `view`, at once and each INTERVAL. `query` chooses gateways and sessions."""
        self._open += 1
        try:
            latest: dict[str, int] = {}
            after = 0
            while not self.ending:
                view = self._view(query, latest, after)
                after = max([after, *(point["time"] for point in view["history"])])
                yield b"event: view\ndata: " + json.dumps(view, separators=(",", ":")).encode() + b"\n\n"
                gevent.sleep(INTERVAL)
        finally:
            self._open -= 1

    def _view(self, query: dict[str, Any], latest: dict[str, int], after: int) -> dict[str, Any]:
        """`latest`: of each worker, the number of the last event that the page has; it is brought up to date."""
        admin = self._admin
        workers, history = admin.workers(), admin.history(max(0, after - int(PERIOD)))
        events = admin.events(limit=EVENTS, after=latest)
        for event in events:
            latest[event["worker"]] = max(latest.get(event["worker"], 0), event["number"])
        by_name = {"search": query["search"], "sort": "name", "descending": False}
        return {
            "status": status(workers, history),
            "workers": workers,
            "nodes": nodes(workers),
            "gateways": admin.gateways({**by_name, "offset": query["gateways_offset"], "limit": GATEWAYS}),
            "sessions": admin.sessions({key: value for key, value in query.items() if key != "gateways_offset"}),
            "flows": admin.flows(),
            "history": [point for point in history if point["time"] > after],
            "events": events,
        }
