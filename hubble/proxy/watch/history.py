"""The last 15 minutes of a worker, as samples for charts; and measurements taken at regular intervals."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import gevent

from hubble.base.keepalive import keep_running
from hubble.base.metrics import measure_lag
from hubble.base.slices import in_chunks, in_slices
from hubble.protocol.direction import TO_ENTRY, TO_EXIT, Direction
from hubble.proxy.gateways.registry import Gateways
from hubble.proxy.sessions.record import Record
from hubble.proxy.sessions.registry import SessionRegistry
from hubble.proxy.watch.counts import Totals
from hubble.proxy.watch.metrics import Metrics

INTERVAL = 5.0
LENGTH = 180
"""The number of points kept: 15 minutes."""


@dataclass(frozen=True, slots=True)
class Point:
    """One interval, ending at `time` (a multiple of INTERVAL, in seconds since 1970).

    to_exit, to_entry: bytes a second. round_trip: the median over the agents' links in seconds, None without links.
    lag: the longest delay of the event loop in seconds.
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
    """Takes a sample each INTERVAL. `points` are the latest, oldest first."""

    def __init__(self, totals: Totals, metrics: Metrics) -> None:
        self.points: deque[Point] = deque(maxlen=LENGTH)
        self.lag = 0.0
        self._totals = totals
        self._metrics = metrics
        self._counted = [0, 0]
        self._greenlets: list[gevent.Greenlet] = []

    def start(self, gateways: Gateways, sessions: SessionRegistry) -> None:
        """Start sampling these gateways and sessions."""
        sample = partial(self.sample, gateways, sessions)
        self._greenlets = [
            keep_running("measuring the event loop", measure_lag, self._record_lag),
            keep_running("the history", self._sample_regularly, sample),
        ]

    def stop(self) -> None:
        """Stop sampling."""
        gevent.killall(self._greenlets)

    def as_json(self, after: int) -> list[dict[str, Any]]:
        """Return the points later than `after` as JSON objects, for other workers."""
        points = [point for point in self.points if point.time > after]
        return [{name: getattr(point, name) for name in NAMES} for point in in_slices(points)]

    def _sample_regularly(self, sample: Callable[[float], None]) -> None:
        last = time.monotonic()
        while True:
            gevent.sleep(INTERVAL - time.time() % INTERVAL)
            now = time.monotonic()
            if now - last > INTERVAL / 2:  # else the timer was slightly early, and the next one fires at once
                sample(now - last)
                last = now

    def sample(self, gateways: Gateways, sessions: SessionRegistry, seconds: float) -> None:
        """Add a point for the last `seconds`, and update each session's rate."""
        moment = round(time.time() / INTERVAL) * int(INTERVAL)
        now = self._totals.with_open(sessions)
        rates = [max(0.0, (now.bytes[way] - self._counted[way]) / seconds) for way in Direction]
        self._counted = now.bytes
        for chunk in in_chunks(sessions.all()):
            for record in chunk:
                _rate(record, seconds)
        round_trip = self._round_trips(gateways)
        self.points.append(
            Point(
                time=moment,
                sessions=sessions.open + sessions.suspended,
                gateways=len(gateways),
                to_exit=rates[TO_EXIT],
                to_entry=rates[TO_ENTRY],
                round_trip=round_trip,
                lag=self.lag,
            )
        )
        self.lag = 0.0

    def _round_trips(self, gateways: Gateways) -> float | None:
        """Observe the latest round trip of each link; return their median in seconds, or None."""
        times = sorted(gateway.link.round_trip for gateway in gateways if gateway.link.round_trip is not None)
        for chunk in in_chunks(times):
            for seconds in chunk:
                self._metrics.round_trip.observe(seconds)
        return times[len(times) // 2] if times else None

    def _record_lag(self, seconds: float) -> None:
        self.lag = max(self.lag, seconds)
        self._metrics.loop_lag.observe(seconds)


def _rate(record: Record, seconds: float) -> None:
    before, now = record.measured, (record.passed(TO_EXIT), record.passed(TO_ENTRY))
    if now == before:
        record.rate = IDLE
        return
    record.rate = (max(0.0, (now[0] - before[0]) / seconds), max(0.0, (now[1] - before[1]) / seconds))
    record.measured = now


def merged(histories: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Merge the points of several workers into points of the whole proxy, oldest first."""
    by_time: dict[int, list[dict[str, Any]]] = {}
    for points in histories:
        for point in points:
            by_time.setdefault(point["time"], []).append(point)
    return [_merged_point(moment, by_time[moment]) for moment in in_slices(sorted(by_time)[-LENGTH:])]


def _merged_point(moment: int, points: list[dict[str, Any]]) -> dict[str, Any]:
    most: Callable[[str], float | None] = lambda name: max(  # noqa: E731
        (point[name] for point in points if point[name] is not None), default=None
    )
    total = {name: sum(point[name] for point in points) for name in ("sessions", "gateways", "to_exit", "to_entry")}
    return {"time": moment, **total, "round_trip": most("round_trip"), "lag": most("lag")}
