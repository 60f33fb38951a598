"""The last 15 minutes of a worker, as numbers for small charts; and the measurements that need a clock of their own."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import gevent

from hubble.proxy.audit import Audit
from hubble.proxy.gateways import Gateways
from hubble.proxy.record import TO_ENTRY, TO_EXIT, Record

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


NAMES = tuple(field.name for field in fields(Point))


class History:
    """Looks at everything each INTERVAL. `points` are the latest, oldest first."""

    def __init__(self, audit: Audit, gateways: Gateways) -> None:
        self.points: deque[Point] = deque(maxlen=LENGTH)
        self.lag = 0.0
        self._audit = audit
        self._gateways = gateways
        self._seen: dict[bool, int] = {TO_EXIT: 0, TO_ENTRY: 0}
        self._greenlets: list[gevent.Greenlet] = []

    def start(self) -> None:
        """Begin to look."""
        self._greenlets = [gevent.spawn(self._measure_lag), gevent.spawn(self._look_regularly)]

    def stop(self) -> None:
        """Look no more."""
        gevent.killall(self._greenlets)

    def passed(self, direction: bool) -> int:
        """Bytes of all sessions of this worker that have passed in one direction, ever."""
        live = (record.route.passed[direction] for record in self._audit if record.route is not None)
        return self._audit.totals["bytes", direction] + sum(live)

    def as_json(self, after: int) -> list[dict[str, Any]]:
        """The points later than `after`, for other workers."""
        return [{name: getattr(point, name) for name in NAMES} for point in self.points if point.time > after]

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
        self._audit.expire()
        rates = {}
        for direction in (TO_EXIT, TO_ENTRY):
            passed = self.passed(direction)
            rates[direction] = max(0.0, (passed - self._seen[direction]) / seconds)
            self._seen[direction] = passed
        for record in self._audit:
            _rate(record, seconds)
        self.points.append(
            Point(
                time=round(time.time() / INTERVAL) * int(INTERVAL),
                sessions=self._audit.open + self._audit.suspended,
                gateways=len(self._gateways),
                to_exit=rates[TO_EXIT],
                to_entry=rates[TO_ENTRY],
                round_trip=self._round_trips(),
                lag=self.lag,
            )
        )
        self.lag = 0.0

    def _round_trips(self) -> float | None:
        """The median of the links' latest; each is observed."""
        times = sorted(leg.link.round_trip for leg in self._gateways if leg.link.round_trip is not None)
        for seconds in times:
            self._audit.metrics.round_trip.observe(seconds)
        return times[len(times) // 2] if times else None

    def _measure_lag(self) -> None:
        while True:
            before = time.monotonic()
            gevent.sleep(LAG_INTERVAL)
            late = max(0.0, time.monotonic() - before - LAG_INTERVAL)
            self.lag = max(self.lag, late)
            self._audit.metrics.loop_lag.observe(late)


def _rate(record: Record, seconds: float) -> None:
    now = record.passed(TO_EXIT), record.passed(TO_ENTRY)
    before = record.seen
    record.rate = (max(0.0, (now[0] - before[0]) / seconds), max(0.0, (now[1] - before[1]) / seconds))
    record.seen = now


def merged(histories: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The points of several workers as those of all of them, oldest first."""
    by_time: dict[int, list[dict[str, Any]]] = {}
    for points in histories:
        for point in points:
            by_time.setdefault(point["time"], []).append(point)
    return [_together(moment, by_time[moment]) for moment in sorted(by_time)[-LENGTH:]]


def _together(moment: int, points: list[dict[str, Any]]) -> dict[str, Any]:
    most: Callable[[str], float | None] = lambda name: max(  # noqa: E731
        (point[name] for point in points if point[name] is not None), default=None
    )
    total = {name: sum(point[name] for point in points) for name in ("sessions", "gateways", "to_exit", "to_entry")}
    return {"time": moment, **total, "round_trip": most("round_trip"), "lag": most("lag")}
