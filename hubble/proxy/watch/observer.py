"""Everything that looks on at one worker: its audit, events, metrics, history, and what an operator can ask of it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from prometheus_client.core import Metric

from hubble import __version__
from hubble.base.slots import Slot
from hubble.directory import Worker
from hubble.events import Event, Events, ProxyStarted, ProxyStopping, as_dict
from hubble.mesh.mesh import Mesh
from hubble.policy import Authorizer
from hubble.proxy.gateways.blocks import Blocks
from hubble.proxy.gateways.registry import Gateways
from hubble.proxy.sessions.routes import Routes
from hubble.proxy.watch.audit import Audit
from hubble.proxy.watch.history import History, count
from hubble.proxy.watch.metrics import Metrics, build_info, counters, gauge, gauges
from hubble.proxy.watch.recent import Tail
from hubble.proxy.watch.record import TO_ENTRY, TO_EXIT

TAKE_TIMEOUT = 3.0
"""Seconds that another worker may take to hand over what it knows of a session."""


class Observer:
    """Looks on from `start` to `stop`. `audit` is what the proxy's parts tell; `events` has the loggers."""

    def __init__(self, me: Worker, mesh: Mesh | None, authorizer: Authorizer, runtime_dir: Path | None = None) -> None:
        self.me = me
        self._slot = Slot(runtime_dir)
        self.started = time.time()
        self.events = Events()
        self.metrics = Metrics()
        self.tail = Tail()
        self.blocks = Blocks(runtime_dir / "blocked.json" if runtime_dir else None)
        self.audit = Audit(me.id, self.events, self.metrics, take_elsewhere=self._take_elsewhere if mesh else None)
        self.gateways: Gateways | None = None
        self.history: History | None = None
        self._routes: Routes | None = None
        self._mesh = mesh
        self.events.install(self.tail, "tail")
        self.events.install(_PolicyLogger(authorizer), "policy")
        if mesh is not None:
            mesh.methods["give_up_session"] = lambda arguments: self.audit.give_up(arguments["session"])

    @property
    def slot(self) -> int:
        """This worker's number among those of its machine."""
        return self._slot.number

    def start(self, gateways: Gateways, routes: Routes) -> None:
        """The worker serves."""
        self.gateways, self._routes = gateways, routes
        self.history = History(self.audit, gateways)
        self.history.start()
        self.metrics.watch(self._collect)
        self.events.log(ProxyStarted(time=time.time(), worker=self.me.id, node=self.me.node, version=__version__))

    def stopping(self) -> None:
        """The worker is about to end: its gateways and sessions will be told of yet."""
        self.events.log(ProxyStopping(time=time.time(), worker=self.me.id, node=self.me.node))

    def stop(self) -> None:
        """The worker has ended: the loggers get what waits for them, and are let go."""
        if self.history is not None:
            self.history.stop()
        self.events.close()
        self._slot.release()

    def _collect(self) -> Iterable[Metric]:
        """What is counted where it happens, or is only there while somebody looks."""
        audit, gateways, routes = self.audit, self.gateways, self._routes
        assert gateways is not None and routes is not None
        counts = count(audit)
        yield build_info()
        yield gauge("hubble_gateways", "Agents that are registered.", len(gateways))
        opening = sum(route.entry is gateway for gateway in gateways for route in routes.of(gateway).proposals.values())
        states = {"opening": opening, "open": audit.open, "suspended": audit.suspended}
        yield gauges("hubble_sessions", "Sessions whose entry is at this worker.", "state", states)
        yield counters(
            "hubble_session_bytes", "Bytes of sessions' streams that passed, repetitions included.", "direction",
            {"to_exit": counts.bytes[TO_EXIT], "to_entry": counts.bytes[TO_ENTRY]},
        )  # fmt: skip
        yield counters(
            "hubble_session_messages", "Messages that carried them.", "direction",
            {"to_exit": counts.messages[TO_EXIT], "to_entry": counts.messages[TO_ENTRY]},
        )  # fmt: skip
        yield counters(
            "hubble_credit_stall_seconds", "Time for which credit was kept back as a link was full.", "at",
            {"proxy": counts.stalled},
        )  # fmt: skip
        queued = sum(gateway.link.queued_bytes for gateway in gateways)
        yield gauge("hubble_link_queued_bytes", "Bytes queued towards agents.", queued)
        feeds = {f"{number}:{feed.name}": feed for number, feed in enumerate(self.events.feeds())}
        drops = {name: feed.dropped for name, feed in feeds.items()}
        yield counters("hubble_event_drops", "Events that a logger has not taken.", "logger", drops)
        failures = {name: feed.failures for name, feed in feeds.items()}
        yield counters("hubble_event_logger_failures", "How often a logger raised.", "logger", failures)

    def _take_elsewhere(self, session: str) -> Mapping[str, Any] | None:
        """What another worker knows of a session, which it then forgets."""
        assert self._mesh is not None
        answers = self._mesh.call_all("give_up_session", timeout=TAKE_TIMEOUT, session=session)
        return next((answer for worker, answer in answers.items() if worker != self.me.id and answer), None)


class _PolicyLogger:
    """Tells the policy, which may be a script with a function `event`."""

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    def log(self, event: Event) -> None:
        self._authorizer.event(as_dict(event))
