"""An agent's counters, and a listener that serves them to Prometheus (docs/metrics.md).

Counting needs no library: prometheus_client is imported for the first request.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

from hubble import __version__
from hubble.base.keepalive import keep_running
from hubble.base.metrics import (
    CONTENT_TYPE,
    LAG,
    Computed,
    Durations,
    build_info,
    counter,
    counters,
    gauge,
    gauges,
    measure_lag,
)
from hubble.transport.addresses import Socket
from hubble.transport.serve.strict import StrictHandler, StrictServer

if TYPE_CHECKING:
    from prometheus_client.core import Metric

    from hubble.agent.connection import Connection
    from hubble.transport.link import Link

ROLES = {False: "entry", True: "exit"}
ROLE_NAMES = tuple(ROLES.values())


class Meters:
    """The counters of the agent's parts. A role is "entry" or "exit"."""

    def __init__(self) -> None:
        self.registrations = 0
        self.opened = Counter[str]()
        self.closed = Counter[tuple[str, str]]()
        """Closed sessions, by role and by "closed" or the reason of the reset."""
        self.resumptions = 0
        self.read = Counter[str]()
        """Bytes that ended sessions read from local sockets, by role."""
        self.written = Counter[str]()
        self.stalled = 0.0
        """Seconds that readers of local sockets waited for credit."""
        self.dials = Durations()
        self.dial_failures = Counter[str]()

    def dial_failed(self, seconds: float, timeout: float) -> None:
        """Count a destination that could not be reached within `seconds`."""
        self.dial_failures["timeout" if seconds >= timeout else "failed"] += 1

    def connection_opened(self, connection: Connection) -> None:
        """Count a connection whose session has opened."""
        self.opened[ROLES[connection.session.from_exit]] += 1

    def connection_closed(self, connection: Connection, reason: str) -> None:
        """Count a connection whose session is over."""
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
        self._watcher = keep_running("measuring the event loop", measure_lag, self._lag.add)

    def stop(self) -> None:
        """Stop serving."""
        self._watcher.kill()
        self._server.stop(timeout=0.2)

    def _answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/metrics" or environ["REQUEST_METHOD"] != "GET":
            start_response("404 Not Found", [("Content-Type", "text/plain")])
            return [b"not found; the metrics are at /metrics\n"]
        from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        registry.register(Computed(self._collect))
        start_response("200 OK", [("Content-Type", CONTENT_TYPE)])
        return [generate_latest(registry)]

    def _collect(self) -> Iterator[Metric]:
        """Yield the current value of every metric family."""
        connections = self._connections()
        yield build_info(__version__)
        yield from self._link_families(self._link())
        yield from self._session_families(connections)
        yield from self._byte_families(connections)
        meters = self._meters
        yield meters.dials.family("hubble_agent_dial_seconds", "Time to connect to a destination.")
        causes = {cause: meters.dial_failures[cause] for cause in ("timeout", "failed")}
        yield counters("hubble_agent_dial_failures", "Destinations that were not reached.", "cause", causes)
        yield self._lag.family(*LAG)

    def _link_families(self, link: Link | None) -> Iterator[Metric]:
        yield gauge("hubble_agent_linked", "Whether there is a link to a proxy.", link is not None)
        if link is not None and link.round_trip is not None:
            yield gauge("hubble_agent_link_round_trip_seconds", "Round-trip time of the last ping.", link.round_trip)
        queued = link.queued_bytes if link else 0
        yield gauge("hubble_agent_link_queued_bytes", "Bytes queued towards the proxy.", queued)
        registrations = self._meters.registrations
        yield counter("hubble_agent_registrations", "Registrations, including repeated ones.", registrations)

    def _session_families(self, connections: Sequence[Connection]) -> Iterator[Metric]:
        meters = self._meters
        states = dict.fromkeys(product(ROLE_NAMES, ("connecting", "open", "waiting")), 0)
        for one in connections:
            state = ROLES[one.session.from_exit], one.session.path.value
            if state in states:
                states[state] += 1
        yield gauges("hubble_agent_sessions", "Sessions.", "role state", states)
        opened = {role: meters.opened[role] for role in ROLE_NAMES}
        yield counters("hubble_agent_sessions_opened", "Sessions that were opened.", "role", opened)
        yield counters("hubble_agent_sessions_closed", "Sessions that ended.", "role reason", meters.closed)
        yield counter(
            "hubble_agent_session_resumptions",
            "Sessions that resumed after the loss of their path.",
            meters.resumptions,
        )

    def _byte_families(self, connections: Sequence[Connection]) -> Iterator[Metric]:
        meters = self._meters
        read = {role: meters.read[role] for role in ROLE_NAMES}
        written = {role: meters.written[role] for role in ROLE_NAMES}
        for one in connections:
            read[ROLES[one.session.from_exit]] += one.bytes_read
            written[ROLES[one.session.from_exit]] += one.bytes_written
        yield counters("hubble_agent_read_bytes", "Bytes from local sockets.", "role", read)
        yield counters("hubble_agent_written_bytes", "Bytes to local sockets.", "role", written)
        text = "Time that readers of local sockets waited for credit."
        yield counter("hubble_agent_credit_stall_seconds", text, meters.stalled)
