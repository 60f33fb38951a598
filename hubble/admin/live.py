"""The dashboard's live view, sent periodically as server-sent events."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from hubble.admin.service import Admin, nodes, status
from hubble.base.keyedlock import KeyedLock
from hubble.base.slices import others_if_due
from hubble.proxy.watch.history import INTERVAL as PERIOD

INTERVAL = 2.0
FRESH = 0.5
"""Seconds for which a part of a view is reused for other pages with the same query."""
GATEWAYS = 50
EVENTS = 100
MOST = 8
"""Concurrent live views."""

Disconnected = Callable[[float], bool]
Parts = dict[str, bytes]
"""The fields of a JSON object by name, each as JSON."""

_encode = json.JSONEncoder(separators=(",", ":")).encode


class LiveViews:
    """The live views of all open pages."""

    def __init__(self, admin: Admin) -> None:
        self._admin = admin
        self._shared = Shared()
        self._open = 0
        self.ending = False

    @property
    def full(self) -> bool:
        """Return whether the limit of live views is reached."""
        return self._open >= MOST

    def follow(self, query: dict[str, Any], disconnected: Disconnected) -> Iterator[bytes]:
        """Yield one page's events: `view`, at once and each INTERVAL. `query` selects gateways and sessions.

        `disconnected(seconds)` waits up to `seconds` until the page is closed, and returns whether it is. So a closed
        page frees its place at once, and not only when the next event cannot be sent.
        """
        self._open += 1
        try:
            page = _Page()
            while not self.ending:
                yield b"event: view\ndata: " + _joined(self._view(query, page)) + b"\n\n"
                if disconnected(_until_next(time.monotonic())):
                    return
        finally:
            self._open -= 1

    def _view(self, query: dict[str, Any], page: _Page) -> Parts:
        """Return the view: parts shared by all pages, parts shared by pages with the same query, and news."""
        admin, get = self._admin, self._shared.get
        sessions = {key: value for key, value in query.items() if key != "gateways_offset"}
        offset = {"offset": query["gateways_offset"], "limit": GATEWAYS}
        gateways = {"search": query["search"], "sort": "name", "descending": False, **offset}
        return {
            **get("now", self._now),
            **get(f"gateways {gateways}", lambda: {"gateways": admin.gateways(gateways)}),
            **get(f"sessions {sessions}", lambda: {"sessions": admin.sessions(sessions)}),
            **get("flows", lambda: {"flows": admin.flows()}),
            **_encoded(page.news(admin)),
        }

    def _now(self) -> dict[str, Any]:
        workers = self._admin.workers()
        latest = self._admin.history(int(time.time() - 3 * PERIOD))
        return {"status": status(workers, latest), "workers": workers, "nodes": nodes(workers)}


class _Page:
    """The events and the history that one page has received already."""

    def __init__(self) -> None:
        self._events: dict[str, int] = {}
        """The number of the last event sent, by worker."""
        self._point = 0

    def news(self, admin: Admin) -> dict[str, Any]:
        """Return the events and the points of the history that the page has not received yet."""
        history = [point for point in admin.history(max(0, self._point - int(PERIOD))) if point["time"] > self._point]
        events = admin.events(limit=EVENTS, after=self._events)
        self._point = max([self._point, *(point["time"] for point in history)])
        for event in events:
            self._events[event["worker"]] = max(self._events.get(event["worker"], 0), event["number"])
        return {"history": history, "events": events}


class Shared:
    """Parts of views, each computed once for all pages that need it within FRESH seconds."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, Parts]] = {}
        self._working = KeyedLock()

    def get(self, name: str, work: Callable[[], Mapping[str, Any]]) -> Parts:
        """Return the encoded result of `work`, at most FRESH seconds old. Concurrent calls wait for the same result."""
        with self._working.hold(name):
            known = self._known.get(name)
            if known is None or time.monotonic() - known[0] > FRESH:
                parts, now = _encoded(work()), time.monotonic()
                self._known = {other: held for other, held in self._known.items() if now - held[0] <= FRESH}
                known = self._known[name] = now, parts
            return known[1]


def _encoded(fields: Mapping[str, Any]) -> Parts:
    parts = {}
    for name, value in fields.items():
        others_if_due()
        parts[name] = _encode(value).encode()
    others_if_due()
    return parts


def _joined(parts: Parts) -> bytes:
    return b"{" + b",".join(b'"%b":%b' % (name.encode(), part) for name, part in parts.items()) + b"}"


def _until_next(now: float) -> float:
    """Return the seconds until the next view is due. All pages are due at the same moments, so that they can share."""
    wait = INTERVAL - now % INTERVAL
    return wait if wait > INTERVAL / 4 else wait + INTERVAL  # an early timer must not cause two views in a row
