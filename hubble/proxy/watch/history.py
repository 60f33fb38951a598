"""The last 15 minutes of a worker, as numbers for small charts; and the measurements that need a clock of their own."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import gevent

from hubble.base.slices import in_chunks, in_slices
from hubble.proxy.gateways.registry import Gateways
from hubble.proxy.watch.audit import Audit
from hubble.proxy.watch.record import TO_ENTRY, TO_EXIT, Record

INTERVAL = 5.0
LENGTH = 180
"""Points that are kept: 15 minutes."""
LAG_INTERVAL = 0.5


@dataclass(frozen=True, slots=True)
class Point:
    """One interval, ending at `time` (a multiple of INTERVAL, in seconds since 1970).

    to_exit, to_entry: bytes a second. round_trip: seconds, the median of the agents' links, None if there are none;
    lag: seconds by which the event loop was late at worst.
    """

    time: int
    sessions: int
    gateways: int
    to_exit: float
    to_entry: float
    round_trip: float | None
    lag: float


IDLE = (0.0, 0.0)
NAMES = tuple(field.name for field in fields(Point))


class History:
    """Looks at everything each INTERVAL. `points` are the latest, oldest first."""

    def __init__(self, audit: Audit, gateways: Gateways) -> None:
        self.points: deque[Point] = deque(maxlen=LENGTH)
        self.lag = 0.0
        self._audit = audit
        self._gateways = gateways
        self._seen = [0, 0]
        self._greenlets: list[gevent.Greenlet] = []

    def start(self) -> None:
        """Begin to look."""
        self._greenlets = [gevent.spawn(self._measure_lag), gevent.spawn(self._look_regularly)]

    def stop(self) -> None:
        """Look no more."""
        gevent.killall(self._greenlets)

    def as_json(self, after: int) -> list[dict[str, Any]]:
        """The points later than `after`, for other workers."""
        points = [point for point in self.points if point.time > after]
        return [{name: getattr(point, name) for name in NAMES} for point in in_slices(points)]

    def _look_regularly(self) -> None:
        last = time.monotonic()
        while True:
            gevent.sleep(INTERVAL - time.time() % INTERVAL)
            now = time.monotonic()
            if now - last > INTERVAL / 2:  # else the timer was a little early, and the next one comes at once
                self.look(now - last)
                last = now

    def look(self, seconds: float) -> None:
        """Take a point of the last `seconds`, and each session's rate; expire what has to."""
        audit, moment = self._audit, round(time.time() / INTERVAL) * int(INTERVAL)
        audit.expire()
        now = count(audit)
        rates = [max(0.0, (now.bytes[way] - self._seen[way]) / seconds) for way in (TO_EXIT, TO_ENTRY)]
        self._seen = now.bytes
        for chunk in in_chunks(audit.all()):
            for record in chunk:
                _rate(record, seconds)
        round_trip = self._round_trips()
        self.points.append(
            Point(
                time=moment,
                sessions=audit.open + audit.suspended,
                gateways=len(self._gateways),
                to_exit=rates[TO_EXIT],
                to_entry=rates[TO_ENTRY],
                round_trip=round_trip,
                lag=self.lag,
            )
        )
        self.lag = 0.0

    def _round_trips(self) -> float | None:
        """The median of the links' latest; each is observed."""
        times = sorted(gateway.link.round_trip for gateway in self._gateways if gateway.link.round_trip is not None)
        for chunk in in_chunks(times):
            for seconds in chunk:
                self._audit.metrics.round_trip.observe(seconds)
        return times[len(times) // 2] if times else None

    def _measure_lag(self) -> None:
        while True:
            before = time.monotonic()
            gevent.sleep(LAG_INTERVAL)
            late = max(0.0, time.monotonic() - before - LAG_INTERVAL)
            self.lag = max(self.lag, late)
            self._audit.metrics.loop_lag.observe(late)


@dataclass(slots=True)
class Counts:
    """What has passed at a worker, ever: of either direction, the streams' bytes and the messages that carried them.

    stalled: seconds for which credit was kept back.
    """

    bytes: list[int]
    messages: list[int]
    stalled: float


def count(audit: Audit) -> Counts:
    """Of all sessions, those that are over included.

    It takes a while. A session that ends meanwhile is counted all the same, and once: here by its route, later among
    the totals.
    """
    routes = [record.route for record in audit.all() if record.route is not None]
    totals = audit.totals
    both = (TO_EXIT, TO_ENTRY)
    counts = Counts([totals["bytes", way] for way in both], [totals["messages", way] for way in both], audit.stalled)
    for chunk in in_chunks(routes):
        for route in chunk:
            for way in both:
                counts.bytes[way] += route.passed[way]
                counts.messages[way] += route.messages[way]
            counts.stalled += route.stalled
    return counts


def _rate(record: Record, seconds: float) -> None:
    before, now = record.seen, (record.passed(TO_EXIT), record.passed(TO_ENTRY))
    if now == before:
        record.rate = IDLE
        return
    record.rate = (max(0.0, (now[0] - before[0]) / seconds), max(0.0, (now[1] - before[1]) / seconds))
    record.seen = now


def merged(histories: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The points of several workers as those of all of them, oldest first."""
    by_time: dict[int, list[dict[str, Any]]] = {}
    for points in histories:
        for point in points:
            by_time.setdefault(point["time"], []).append(point)
    return [_together(moment, by_time[moment]) for moment in in_slices(sorted(by_time)[-LENGTH:])]


def _together(moment: int, points: list[dict[str, Any]]) -> dict[str, Any]:
    most: Callable[[str], float | None] = lambda name: max(  # noqa: E731
        (point[name] for point in points if point[name] is not None), default=None
    )
    total = {name: sum(point[name] for point in points) for name in ("sessions", "gateways", "to_exit", "to_entry")}
    return {"time": moment, **total, "round_trip": most("round_trip"), "lag": most("lag")}
