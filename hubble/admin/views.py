"""One worker's answers to operators' queries, as JSON values.

Other workers get the answers over the mesh, where a message has at most 1 MiB. So lists are shortened to fit, and texts
that agents choose to TEXT characters. Loops over all sessions or gateways run in slices (hubble.base.slices).
"""

from __future__ import annotations

import heapq
import os
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import Any
from uuid import UUID

from hubble import __version__
from hubble.admin.lists import Key, Row, first_keys, fitting
from hubble.base.slices import in_chunks
from hubble.protocol.codec import session_text
from hubble.protocol.direction import TO_ENTRY, TO_EXIT
from hubble.proxy.gateways.gateway import Gateway
from hubble.proxy.proxy import Proxy
from hubble.proxy.sessions.record import Record
from hubble.proxy.sessions.routes import Routes

TEXT = 300
SORT_TEXT = 64
FLOWS = 60

Arguments = Mapping[str, Any]


class Views:
    """Answers for one worker. Arguments and results are JSON values."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._me = proxy.me
        self._watch = proxy.watch
        self._sessions = proxy.sessions

    def methods(self) -> dict[str, Callable[[Arguments], Any]]:
        """Return the methods that other workers may call, by name."""
        names = (
            "worker", "metrics", "gateway_keys", "gateway_rows", "session_keys", "session_rows", "flows", "events",
            "history", "kick_session", "kick_gateway", "block", "reload",
        )  # fmt: skip
        return {f"admin_{name}": getattr(self, name) for name in names}

    # Queries.

    def worker(self, arguments: Arguments) -> Row:
        """Return the facts and counts of this worker."""
        me, watch = self._me, self._watch
        return {
            "worker": me.id,
            "node": me.node,
            "slot": watch.slot,
            "pid": os.getpid(),
            "version": __version__,
            "started": watch.started_at,
            "gateways": len(self._proxy.gateways),
            "sessions_open": self._sessions.open,
            "sessions_suspended": self._sessions.suspended,
            "loop_lag": watch.history.lag,
            "memory": _memory(),
            "cpu_seconds": time.process_time(),
            "events_dropped": sum(feed.dropped for feed in watch.events.feeds()),
        }

    def metrics(self, arguments: Arguments) -> Any:
        """Return all metric families (metrics.Exported)."""
        return self._watch.metrics.export()

    def gateway_keys(self, arguments: Arguments) -> Row:
        """Return the `total` of matching gateways, and in `keys` the first `count` as [sort value, name]."""
        search = arguments.get("search", "").casefold()
        wanted = _holding(search, lambda gateway: (gateway.name, gateway.address, gateway.identity)) if search else None
        sorts = {name: key(self._proxy.routes) for name, key in GATEWAY_KEYS.items()}
        return _keys(list(self._proxy.gateways), arguments, sorts, wanted, str)

    def gateway_rows(self, arguments: Arguments) -> list[Row]:
        """Return the rows of the gateways `names` that are at this worker, as many as fit in a message."""
        found = (self._proxy.gateways.get(name) for name in arguments["names"])
        return fitting(self._gateway(gateway) for gateway in found if gateway is not None)

    def session_keys(self, arguments: Arguments) -> Row:
        """Return the `total` and the `keys` of matching sessions; `state` and `gateway` (either end) also select."""
        search = arguments.get("search", "").casefold()
        state, gateway = arguments.get("state"), arguments.get("gateway")
        tests: list[Callable[[Record], bool]] = []
        if state:
            tests.append(lambda record: _state(record) == state)
        if gateway:
            tests.append(lambda record: gateway in (record.facts.source, record.facts.gateway))
        if search:
            tests.append(_holding(search, _session_texts))
        wanted = (lambda record: all(test(record) for test in tests)) if tests else None
        return _keys(self._sessions.all(), arguments, SESSION_KEYS, wanted, session_text)

    def session_rows(self, arguments: Arguments) -> list[Row]:
        """Return the rows of the sessions `names` that are at this worker, as many as fit in a message."""
        found = (self._sessions.get(UUID(name).bytes) for name in arguments["names"])
        return fitting(self._session(record) for record in found if record is not None)

    def flows(self, arguments: Arguments) -> list[Row]:
        """Return at most FLOWS pairs of gateways with sessions between them, the busiest first."""
        flows: dict[tuple[str, str], list[float]] = {}
        for chunk in in_chunks(self._sessions.all()):
            for record in chunk:
                pair = record.facts.source, record.facts.gateway
                flow = flows.get(pair)
                if flow is None:
                    flow = flows[pair] = [0, 0.0]
                flow[0] += 1
                flow[1] += record.rate[0] + record.rate[1]
        most: list[tuple[tuple[str, str], list[float]]] = []
        for chosen in in_chunks(list(flows.items()), 4 * FLOWS):
            most = heapq.nlargest(FLOWS, [*most, *chosen], key=itemgetter(1))
        return fitting(
            {"source": cut(source), "gateway": cut(gateway), "sessions": sessions, "rate": rate}
            for (source, gateway), (sessions, rate) in most
        )

    def events(self, arguments: Arguments) -> list[Row]:
        """Return the latest events; `limit`, `after`, `kinds` and `about` are the arguments of LatestEvents.latest."""
        found = self._watch.latest.latest(
            arguments["limit"],
            after=arguments.get("after", {}).get(self._me.id, 0),
            kinds=frozenset(arguments.get("kinds", ())),
            about=arguments.get("about", ""),
        )
        return fitting({name: cut(value) for name, value in event.items()} for event in found)

    def history(self, arguments: Arguments) -> list[Row]:
        """Return the points of the last 15 minutes that are later than `after`."""
        return self._watch.history.as_json(arguments.get("after", 0))

    # Actions.

    def kick_session(self, arguments: Arguments) -> bool:
        """Reset a session on both sides and prevent its resumption; return whether its entry was at this worker."""
        return self._proxy.kicks.session(UUID(arguments["session"]).bytes)

    def kick_gateway(self, arguments: Arguments) -> bool:
        """Close a gateway's link; return whether it was at this worker. The agent may reconnect and resume sessions."""
        return self._proxy.kicks.gateway(arguments["name"])

    def block(self, arguments: Arguments) -> bool:
        """Block a gateway and end its sessions, or unblock it (`blocked` is false)."""
        return self._proxy.kicks.block(arguments["name"], arguments["blocked"])

    def reload(self, arguments: Arguments) -> str:
        """Reload; return "" or the problem."""
        return self._proxy.try_to_reload()

    # Rows.

    def _gateway(self, gateway: Gateway) -> Row:
        return {
            "name": cut(gateway.name),
            "address": gateway.address,
            "identity": cut(gateway.identity),
            "since": gateway.since,
            "resumable": gateway.resumable,
            "round_trip": gateway.link.round_trip,
            "sessions": len(self._proxy.routes.of(gateway).routes),
            "queued_bytes": gateway.link.queued_bytes,
            "worker": self._me.id,
            "node": self._me.node,
        }

    def _session(self, record: Record) -> Row:
        return {
            **{name: cut(value) for name, value in vars(record.facts).items()},
            "state": _state(record),
            "since": record.opened,
            "suspended": record.suspended,
            "resumptions": record.resumptions,
            "bytes_to_exit": record.passed(TO_EXIT),
            "bytes_to_entry": record.passed(TO_ENTRY),
            "rate_to_exit": record.rate[0],
            "rate_to_entry": record.rate[1],
            "worker": self._me.id,
            "node": self._me.node,
        }


GATEWAY_KEYS: dict[str, Callable[[Routes], Callable[[Gateway], Key]]] = {
    "name": lambda routes: lambda gateway: (gateway.name[:SORT_TEXT], gateway.name),
    "sessions": lambda routes: lambda gateway: (len(routes.of(gateway).routes), gateway.name),
    "round_trip": lambda routes: lambda gateway: (gateway.link.round_trip or 0.0, gateway.name),
    "epoch": lambda routes: attrgetter("epoch", "name"),
}
"""The sort keys of gateways; each is a sort value and the name."""
SESSION_KEYS: dict[str, Callable[[Record], Key]] = {
    "since": attrgetter("opened", "session"),
    "bytes": lambda record: (record.passed(TO_EXIT) + record.passed(TO_ENTRY), record.session),
    "rate": lambda record: (sum(record.rate), record.session),
    "source": lambda record: (record.facts.source[:SORT_TEXT], record.session),
    "gateway": lambda record: (record.facts.gateway[:SORT_TEXT], record.session),
    "host": lambda record: (record.facts.host[:SORT_TEXT], record.session),
    "resumptions": attrgetter("resumptions", "session"),
}
"""The sort keys of sessions; each is a sort value and the session's id."""


def cut(value: Any) -> Any:
    """Return a text shortened to TEXT characters; return another value unchanged."""
    return value[:TEXT] if isinstance(value, str) else value


def _holding(search: str, texts: Callable[[Any], tuple[str, ...]]) -> Callable[[Any], bool]:
    """Return a test whether one of an item's texts contains `search`."""
    return lambda item: any(search in text.casefold() for text in texts(item))


def _session_texts(record: Record) -> tuple[str, ...]:
    facts = record.facts
    return facts.session, facts.source, facts.source_ip, facts.identity, facts.gateway, f"{facts.host}:{facts.port}"


def _state(record: Record) -> str:
    return "open" if record.suspended is None else "suspended"


def _keys(
    items: Sequence[Any],
    arguments: Arguments,
    sorts: Mapping[str, Callable[[Any], Key]],
    wanted: Callable[[Any], bool] | None,
    text: Callable[[Any], str],
) -> Row:
    key, descending = sorts[arguments["sort"]], arguments["descending"]
    total, first = first_keys(items, arguments["count"], key, descending=descending, wanted=wanted)
    return {"total": total, "keys": [[value, text(name)] for value, name in first]}


@cache
def _page_size() -> int:
    return resource.getpagesize()


def _memory() -> int:
    """Return the resident memory in bytes."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * _page_size()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
