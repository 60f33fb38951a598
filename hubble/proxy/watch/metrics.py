"""The metrics of a worker, for Prometheus. docs/metrics.md lists them.

No label has values that agents can choose: there are no labels for gateways, sessions or addresses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import Metric

from hubble.base.metrics import BOUNDS, LAG, Computed
from hubble.base.slices import in_slices

Exported = list[list[Any]]
"""Metric families as JSON values: [name, help, type, [[sample name, labels, value], ...]]."""


class Metrics:
    """The counters and histograms that a Reporter updates; `watch` adds families computed at each export."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter(
            "hubble_session_requests", "Sessions requested, by result.", ["result"], registry=registry
        )
        self.closed = Counter(
            "hubble_sessions_closed", "Sessions that ended, by reason.", ["reason"], registry=registry
        )
        self.suspensions = Counter("hubble_session_suspensions", "Sessions suspended.", registry=registry)
        self.resumptions = Counter("hubble_session_resumptions", "Sessions resumed.", registry=registry)
        self.registrations = Counter(
            "hubble_registrations", "Registrations requested by agents, by result.", ["result"], registry=registry
        )
        self.setup = Histogram(
            "hubble_session_setup_seconds",
            "Time from an agent's request for a session to the answer, including the policy and the exit's dial.",
            buckets=BOUNDS, registry=registry,
        )  # fmt: skip
        self.authorization = Histogram(
            "hubble_authorization_seconds",
            "Time of a policy decision.",
            ["decision"],
            buckets=BOUNDS,
            registry=registry,
        )
        self.round_trip = Histogram(
            "hubble_link_round_trip_seconds",
            "Round trip of each agent's link, sampled every 5 s.",
            buckets=BOUNDS, registry=registry,
        )  # fmt: skip
        self.loop_lag = Histogram(
            *LAG,
            buckets=BOUNDS, registry=registry,
        )  # fmt: skip

    def watch(self, collect: Callable[[], Iterable[Metric]]) -> None:
        """Call `collect` for additional families at each export."""
        self._registry.register(Computed(collect))

    def export(self) -> Exported:
        """Return the current values of all families."""
        return [
            [metric.name, metric.documentation, metric.type,
             [[sample.name, sample.labels, sample.value] for sample in metric.samples
              if not sample.name.endswith("_created")]]
            for metric in in_slices(self._registry.collect())
        ]  # fmt: skip


def exposition(workers: Mapping[str, Exported]) -> bytes:
    """Return the families of several workers in Prometheus' text format; the label `worker` names a sample's worker.

    Counters are not summed over workers: a restarted worker's counters restart at 0, and Prometheus computes correct
    rates only if it sees that. A query can apply `sum without (worker)`.
    """
    families: dict[str, Metric] = {}
    for worker, exported in sorted(workers.items()):
        for name, text, kind, samples in in_slices(exported):
            family = families.setdefault(name, Metric(name, text, kind))
            for sample_name, labels, value in samples:
                family.add_sample(sample_name, {**labels, "worker": worker}, value)
    return b"".join([generate_latest(_Family(family)) for family in in_slices(families.values())])


class _Family:
    """A registry that holds one family."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterator[Metric]:
        yield self._family
