"""What an agent counts, and a listener on which Prometheus gets it (docs/metrics.md).

Counting needs no library: prometheus_client is imported only where somebody is to be told.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import gevent

from hubble import __version__
from hubble.transport.addresses import Socket
from hubble.transport.serve.strict import StrictHandler, StrictServer

if TYPE_CHECKING:
    from prometheus_client.core import Metric

    from hubble.agent.connection import Connection
    from hubble.transport.link import Link

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds; the bounds of the histogram's buckets."""
ROLES = {False: "entry", True: "exit"}
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
LAG_INTERVAL = 0.5


class Durations:
    """A histogram."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.sum = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.sum += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """As Prometheus has them: each bound with how many were not above it."""
        total, buckets = 0, []
        for bound, count in zip([*map(str, BOUNDS), "+Inf"], self.counts, strict=True):
            total += count
            buckets.append((bound, float(total)))
        return buckets


class Meters:
    """What the agent's parts count. `role` is "entry" or "exit"."""

    def __init__(self) -> None:
        self.registrations = 0
        self.opened = Counter[str]()
        self.closed = Counter[tuple[str, str]]()
        """By role, and by "closed" or why they were reset."""
        self.resumptions = 0
        self.read = Counter[str]()
        """Bytes of sessions that are over, from local sockets; by role."""
        self.written = Counter[str]()
        self.stalled = 0.0
        """Seconds that readers of local sockets waited for credit."""
        self.dials = Durations()
        self.dial_failures = Counter[str]()

    def dial_failed(self, seconds: float, timeout: float) -> None:
        """A destination was not reached, after so long."""
        self.dial_failures["timeout" if seconds >= timeout else "failed"] += 1

    def connection_opened(self, connection: Connection) -> None:
        """Its session is open."""
        self.opened[ROLES[connection.session.from_exit]] += 1

    def connection_closed(self, connection: Connection, reason: str) -> None:
        """Its session is over."""
        role = ROLES[connection.session.from_exit]
        self.closed[role, reason] += 1
        self.read[role] += connection.bytes_read
        self.written[role] += connection.bytes_written


class AgentMetrics:
    """Serves /metrics on a listening socket."""

    def __init__(
        self,
        listener: Socket,
        meters: Meters,
        connections: Callable[[], Sequence[Connection]],
        link: Callable[[], Link | None],
    ) -> None:
        self._meters = meters
        self._connections = connections
        self._link = link
        self._lag = Durations()
        self._server = StrictServer(listener, self._answer, handler_class=StrictHandler)
        self._server.start()
        self._watcher = gevent.spawn(self._measure_lag)

    def stop(self) -> None:
        """Serve no more."""
        self._watcher.kill()
        self._server.stop(timeout=0.2)

    def _answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/metrics" or environ["REQUEST_METHOD"] != "GET":
            start_response("404 Not Found", [("Content-Type", "text/plain")])
            return [b"/metrics is here\n"]
        from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        registry.register(self)
        start_response("200 OK", [("Content-Type", CONTENT_TYPE)])
        return [generate_latest(registry)]

    def describe(self) -> Iterable[Metric]:
        """Nothing: names are not checked before they are asked for."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Every family, as it is now."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        meters, link, connections = self._meters, self._link(), self._connections()

        def labelled(kind: type[Any], name: str, text: str, labels: list[str], values: Iterable[Any]) -> Any:
            family = kind(name, text, labels=labels)
            for given, value in values:
                family.add_metric([given] if isinstance(given, str) else list(given), value)
            return family

        yield labelled(
            GaugeMetricFamily, "hubble_build_info", "Always 1; the version is a label.", ["version"], [(__version__, 1)]
        )
        yield GaugeMetricFamily("hubble_agent_linked", "Whether there is a link to a proxy.", value=link is not None)
        if link is not None and link.round_trip is not None:
            yield GaugeMetricFamily(
                "hubble_agent_link_round_trip_seconds", "What the last ping took.", value=link.round_trip
            )
        yield GaugeMetricFamily(
            "hubble_agent_link_queued_bytes", "Bytes queued towards the proxy.", value=link.queued_bytes if link else 0
        )
        yield CounterMetricFamily(
            "hubble_agent_registrations", "Registrations; all but the first are returns.", value=meters.registrations
        )
        states = Counter((ROLES[one.session.from_exit], one.session.path.value) for one in connections)
        yield labelled(
            GaugeMetricFamily, "hubble_agent_sessions", "Sessions.", ["role", "state"],
            (((role, state), states[role, state]) for role in ROLES.values()
             for state in ("connecting", "open", "waiting")),
        )  # fmt: skip
        roles = list(ROLES.values())
        yield labelled(
            CounterMetricFamily, "hubble_agent_sessions_opened", "Sessions that were opened.", ["role"],
            ((role, meters.opened[role]) for role in roles),
        )  # fmt: skip
        yield labelled(
            CounterMetricFamily, "hubble_agent_sessions_closed", "Sessions that ended.", ["role", "reason"],
            meters.closed.items(),
        )  # fmt: skip
        yield CounterMetricFamily(
            "hubble_agent_session_resumptions", "Sessions that went on.", value=meters.resumptions
        )
        read, written = meters.read.copy(), meters.written.copy()
        for one in connections:
            read[ROLES[one.session.from_exit]] += one.bytes_read
            written[ROLES[one.session.from_exit]] += one.bytes_written
        yield labelled(
            CounterMetricFamily, "hubble_agent_read_bytes", "Bytes from local sockets.", ["role"],
            ((role, read[role]) for role in roles),
        )  # fmt: skip
        yield labelled(
            CounterMetricFamily, "hubble_agent_written_bytes", "Bytes to local sockets.", ["role"],
            ((role, written[role]) for role in roles),
        )  # fmt: skip
        yield CounterMetricFamily(
            "hubble_agent_credit_stall_seconds", "Time that readers of local sockets waited for credit.",
            value=meters.stalled,
        )  # fmt: skip
        dials = HistogramMetricFamily("hubble_agent_dial_seconds", "Connecting to destinations.")
        dials.add_metric([], meters.dials.buckets(), meters.dials.sum)
        yield dials
        yield labelled(
            CounterMetricFamily, "hubble_agent_dial_failures", "Destinations that were not reached.", ["cause"],
            ((cause, meters.dial_failures[cause]) for cause in ("timeout", "failed")),
        )  # fmt: skip
        lag = HistogramMetricFamily("hubble_event_loop_lag_seconds", "By how much a timer of the event loop was late.")
        lag.add_metric([], self._lag.buckets(), self._lag.sum)
        yield lag

    def _measure_lag(self) -> None:
        while True:
            before = time.monotonic()
            gevent.sleep(LAG_INTERVAL)
            self._lag.add(max(0.0, time.monotonic() - before - LAG_INTERVAL))
