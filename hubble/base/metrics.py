"""Helpers for the metrics of every process. prometheus_client is imported when metrics are first requested."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import gevent

if TYPE_CHECKING:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

_Labelled = TypeVar("_Labelled", "GaugeMetricFamily", "CounterMetricFamily")

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""The upper bounds of the buckets of every histogram, in seconds."""
LAG = "hubble_event_loop_lag_seconds", "Delay of a timer of the event loop."
LAG_INTERVAL = 0.5


class Durations:
    """A histogram of durations. Counting needs no library."""

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS) + 1)
        self._sum = 0.0

    def add(self, seconds: float) -> None:
        """Count one duration."""
        self._counts[bisect_left(BOUNDS, seconds)] += 1
        self._sum += seconds

    def family(self, name: str, text: str) -> Metric:
        """Return the metric family. Each bucket counts the durations up to its bound."""
        from prometheus_client.core import HistogramMetricFamily

        total, buckets = 0, []
        for bound, count in zip([*map(str, BOUNDS), "+Inf"], self._counts, strict=True):
            total += count
            buckets.append((bound, float(total)))
        family = HistogramMetricFamily(name, text)
        family.add_metric([], buckets, self._sum)
        return family


def gauge(name: str, text: str, value: float) -> Metric:
    """Return a family of one gauge."""
    from prometheus_client.core import GaugeMetricFamily

    return GaugeMetricFamily(name, text, value=value)


def counter(name: str, text: str, value: float) -> Metric:
    """Return a family of one counter; `name` without "_total"."""
    from prometheus_client.core import CounterMetricFamily

    return CounterMetricFamily(name, text, value=value)


def gauges(name: str, text: str, labels: str, values: Mapping[Any, float]) -> Metric:
    """Return a family of gauges: see `counters`."""
    from prometheus_client.core import GaugeMetricFamily

    return _labelled(GaugeMetricFamily(name, text, labels=labels.split()), values)


def counters(name: str, text: str, labels: str, values: Mapping[Any, float]) -> Metric:
    """Return a family of counters; `name` without "_total".

    `labels` is separated by spaces. `values` maps a label's value, or a tuple of the labels' values, to a number.
    """
    from prometheus_client.core import CounterMetricFamily

    return _labelled(CounterMetricFamily(name, text, labels=labels.split()), values)


def _labelled(family: _Labelled, values: Mapping[Any, float]) -> _Labelled:
    for given, value in values.items():
        family.add_metric([given] if isinstance(given, str) else list(given), value)
    return family


def build_info(version: str) -> Metric:
    """Return a metric with the running version as its label."""
    return gauges("hubble_build_info", "Always 1; the version is a label.", "version", {version: 1})


class Computed:
    """A collector for prometheus_client whose families are computed for each request."""

    def __init__(self, collect: Callable[[], Iterable[Metric]]) -> None:
        self.collect = collect

    def describe(self) -> Iterable[Metric]:
        """Return nothing: the names are unknown until the families are computed, so they are not checked."""
        return []


def measure_lag(record: Callable[[float], None]) -> None:
    """Call `record` with a timer's delay in seconds, every LAG_INTERVAL seconds, until killed."""
    while True:
        before = time.monotonic()
        gevent.sleep(LAG_INTERVAL)
        record(max(0.0, time.monotonic() - before - LAG_INTERVAL))
