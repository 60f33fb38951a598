"""What a worker measures of itself, for Prometheus. docs/metrics.md lists it.

No label has values that agents could invent: there is none for a gateway, a session or an address.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from hubble import __version__
from hubble.base.slices import in_slices

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SHORT = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Seconds; the bounds of the histograms' buckets."""

Exported = list[list[Any]]
"""Families as JSON can carry them: [name, help, type, [[sample's name, labels, value], ...]]."""


class Metrics:
    """The counters and histograms that the proxy's parts add to; `watch` adds what is computed when asked for."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter(
            "hubble_session_requests", "Sessions asked for, by what became of them.", ["result"], registry=registry
        )
        self.closed = Counter(
            "hubble_sessions_closed", "Sessions that ended, by reason.", ["reason"], registry=registry
        )
        self.suspensions = Counter("hubble_session_suspensions", "Losses of sessions' paths.", registry=registry)
        self.resumptions = Counter("hubble_session_resumptions", "Sessions that went on.", registry=registry)
        self.registrations = Counter(
            "hubble_registrations", "Agents that said who they are, by the answer.", ["result"], registry=registry
        )
        self.setup = Histogram(
            "hubble_session_setup_seconds",
            "From an agent's request for a session to the answer, the policy and the exit's dialling included.",
            buckets=SHORT, registry=registry,
        )  # fmt: skip
        self.authorization = Histogram(
            "hubble_authorization_seconds", "How long the policy took.", ["decision"], buckets=SHORT, registry=registry
        )
        self.round_trip = Histogram(
            "hubble_link_round_trip_seconds",
            "The last ping of each agent's link, looked at every 5 s.",
            buckets=SHORT, registry=registry,
        )  # fmt: skip
        self.loop_lag = Histogram(
            "hubble_event_loop_lag_seconds",
            "By how much a timer of the event loop was late.",
            buckets=SHORT, registry=registry,
        )  # fmt: skip

    def watch(self, collect: Callable[[], Iterable[Metric]]) -> None:
        """Have `collect` asked for further families at each export."""
        self._registry.register(_Computed(collect))

    def export(self) -> Exported:
        """Every family, as it is now."""
        return [
            [metric.name, metric.documentation, metric.type,
             [[sample.name, sample.labels, sample.value] for sample in metric.samples
              if not sample.name.endswith("_created")]]
            for metric in in_slices(self._registry.collect())
        ]  # fmt: skip


class _Computed(Collector):
    def __init__(self, collect: Callable[[], Iterable[Metric]]) -> None:
        self._collect = collect

    def describe(self) -> Iterable[Metric]:
        """Nothing: what cannot be known before it is asked for is not checked for its name."""
        return []

    def collect(self) -> Iterable[Metric]:
        return self._collect()


def gauge(name: str, text: str, value: float) -> Metric:
    """A family of one gauge."""
    return GaugeMetricFamily(name, text, value=value)


def labelled(kind: type[Any], name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    """A family with one label; `kind` is GaugeMetricFamily or CounterMetricFamily."""
    family: Metric = kind(name, text, labels=[label])
    for value_of_label, value in values.items():
        family.add_metric([value_of_label], value)  # type: ignore[attr-defined]  # either kind has it
    return family


def gauges(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    """A family of gauges."""
    return labelled(GaugeMetricFamily, name, text, label, values)


def counters(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    """A family of counters; `name` without "_total"."""
    return labelled(CounterMetricFamily, name, text, label, values)


def build_info() -> Metric:
    """Which version runs."""
    return gauges("hubble_build_info", "Always 1; the version is a label.", "version", {__version__: 1})


def exposition(workers: Mapping[str, Exported]) -> bytes:
    """The families of several workers in Prometheus' text format; each sample says in `worker` whose it is.

    They are not summed: the counters of a worker that has been restarted begin again, and rates stay right only if
    that is seen. `sum without (worker)` is a query's business.
    """
    families: dict[str, Metric] = {}
    for worker, exported in sorted(workers.items()):
        for name, text, kind, samples in in_slices(exported):
            family = families.setdefault(name, Metric(name, text, kind))
            for sample_name, labels, value in samples:
                family.add_sample(sample_name, {**labels, "worker": worker}, value)
    return b"".join([generate_latest(_Families([family])) for family in in_slices(families.values())])


class _Families:
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        return iter(self._families)
