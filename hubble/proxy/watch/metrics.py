"""What a worker measures of itself, for Prometheus. docs/metrics.md lists it.

No label has values that agents could invent: there is none for a gateway, a session or an address.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import Metric

from hubble.base.metrics import BOUNDS, LAG, Computed
from hubble.base.slices import in_slices

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
            buckets=BOUNDS, registry=registry,
        )  # fmt: skip
        self.authorization = Histogram(
            "hubble_authorization_seconds", "How long the policy took.", ["decision"], buckets=BOUNDS, registry=registry
        )
        self.round_trip = Histogram(
            "hubble_link_round_trip_seconds",
            "The last ping of each agent's link, looked at every 5 s.",
            buckets=BOUNDS, registry=registry,
        )  # fmt: skip
        self.loop_lag = Histogram(
            *LAG,
            buckets=BOUNDS, registry=registry,
        )  # fmt: skip

    def watch(self, collect: Callable[[], Iterable[Metric]]) -> None:
        """Have `collect` asked for further families at each export."""
        self._registry.register(Computed(collect))

    def export(self) -> Exported:
        """Every family, as it is now."""
        return [
            [metric.name, metric.documentation, metric.type,
             [[sample.name, sample.labels, sample.value] for sample in metric.samples
              if not sample.name.endswith("_created")]]
            for metric in in_slices(self._registry.collect())
        ]  # fmt: skip


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
    return b"".join([generate_latest(_Family(family)) for family in in_slices(families.values())])


class _Family:
    """A registry of one family."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterator[Metric]:
        yield self._family
