"""The default subscriber of a proxy: reporter, events, metrics and history in one object."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

from prometheus_client.core import Metric

from hubble import __version__
from hubble.base.metrics import build_info, counters, gauge, gauges
from hubble.base.slots import Slot
from hubble.directory import Worker
from hubble.events import Event, Events, ProxyStarted, ProxyStopping, as_dict
from hubble.policy import Authorizer
from hubble.protocol.direction import TO_ENTRY, TO_EXIT
from hubble.proxy.gateways.registry import Gateways
from hubble.proxy.sessions.registry import SessionRegistry
from hubble.proxy.sessions.routes import Routes
from hubble.proxy.watch.history import History
from hubble.proxy.watch.latest import LatestEvents
from hubble.proxy.watch.metrics import Metrics
from hubble.proxy.watch.reporter import Reporter


class Watch(Reporter):
    """Subscribes to a proxy. `events` holds the event loggers; `latest` keeps the latest events for operators."""

    def __init__(self, me: Worker, authorizer: Authorizer, runtime_dir: Path | None = None) -> None:
        super().__init__(me.id, Events(), Metrics())
        self._me = me
        self._slot = Slot(runtime_dir)
        self.started_at = time.time()
        self.latest = LatestEvents()
        self.history = History(self.totals, self.metrics)
        self.events.install(self.latest, "tail")
        self.events.install(_PolicyLogger(authorizer), "policy")

    @property
    def slot(self) -> int:
        """Return this worker's number among the workers of its machine."""
        return self._slot.number

    def started(self, gateways: Gateways, sessions: SessionRegistry, routes: Routes) -> None:
        self.history.start(gateways, sessions)
        self.metrics.watch(lambda: self._collect(gateways, sessions, routes))
        self.events.log(ProxyStarted(time=time.time(), worker=self._me.id, node=self._me.node, version=__version__))

    def reload(self) -> None:
        self.events.reopen()

    def stopping(self) -> None:
        self.events.log(ProxyStopping(time=time.time(), worker=self._me.id, node=self._me.node))

    def stopped(self) -> None:
        self.history.stop()
        self.events.close()
        self._slot.release()

    def _collect(self, gateways: Gateways, sessions: SessionRegistry, routes: Routes) -> Iterable[Metric]:
        """Return the families whose values are computed at each export."""
        yield build_info(__version__)
        yield gauge("hubble_gateways", "Registered agents.", len(gateways))
        opening = sum(route.entry is gateway for gateway in gateways for route in routes.of(gateway).proposed())
        states = {"opening": opening, "open": sessions.open, "suspended": sessions.suspended}
        yield gauges("hubble_sessions", "Sessions whose entry is at this worker.", "state", states)
        yield from self._traffic(sessions)
        queued = sum(gateway.link.queued_bytes for gateway in gateways)
        yield gauge("hubble_link_queued_bytes", "Bytes queued towards agents.", queued)
        feeds = {f"{number}:{feed.name}": feed for number, feed in enumerate(self.events.feeds())}
        drops = {name: feed.dropped for name, feed in feeds.items()}
        yield counters("hubble_event_drops", "Events dropped because a logger was too slow.", "logger", drops)
        failures = {name: feed.failures for name, feed in feeds.items()}
        yield counters("hubble_event_logger_failures", "Exceptions raised by a logger.", "logger", failures)

    def _traffic(self, sessions: SessionRegistry) -> Iterable[Metric]:
        totals = self.totals.with_open(sessions)
        yield counters(
            "hubble_session_bytes", "Bytes of sessions' streams relayed, including repetitions.", "direction",
            {"to_exit": totals.bytes[TO_EXIT], "to_entry": totals.bytes[TO_ENTRY]},
        )  # fmt: skip
        yield counters(
            "hubble_session_messages", "Messages that carried the bytes of sessions' streams.", "direction",
            {"to_exit": totals.messages[TO_EXIT], "to_entry": totals.messages[TO_ENTRY]},
        )  # fmt: skip
        yield counters(
            "hubble_credit_stall_seconds", "Time for which credit was held back because a link was full.", "at",
            {"proxy": totals.stalled},
        )  # fmt: skip


class _PolicyLogger:
    """Passes events to the policy, which may be a script with a function `event`."""

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    def log(self, event: Event) -> None:
        self._authorizer.event(as_dict(event))
