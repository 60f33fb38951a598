"""The answers of the whole proxy: asks every worker, and combines their answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from hubble.admin.lists import Row
from hubble.admin.views import FLOWS, Views
from hubble.directory import Worker
from hubble.mesh.mesh import Mesh, WorkerUnreachable
from hubble.proxy.watch.history import merged
from hubble.proxy.watch.metrics import exposition

TIMEOUT = 3.0
"""Seconds within which a worker must answer; a worker that does not is left out."""
ROWS_AT_ONCE = 50
SETTLED = 1.0
"""Seconds after which every worker has added its point to the history."""

BeginDrain = Callable[[float], object]


class Admin:
    """Asks the workers. configuration: shown unchanged, so without secrets. drain: begins to drain the proxy."""

    def __init__(
        self, views: Views, me: Worker, mesh: Mesh | None, configuration: Mapping[str, Any], drain: BeginDrain
    ) -> None:
        self._methods = views.methods()
        self._me = me
        self._mesh = mesh
        self._configuration = dict(configuration)
        self._drain = drain

    # Queries.

    def workers(self) -> list[Row]:
        """Return every worker that answers."""
        return sorted(self._ask("worker").values(), key=lambda row: (row["node"], row["slot"], row["worker"]))

    def nodes(self) -> list[Row]:
        """Return the machines, each with the sums over its workers."""
        return nodes(self.workers())

    def status(self) -> Row:
        """Return the sums over all workers, and the traffic of the last few seconds."""
        return status(self.workers(), self.history())

    def gateways(self, query: Mapping[str, Any]) -> Row:
        """Return one page of gateways: `total` and `items`."""
        return self._page("gateway", query, "name")

    def sessions(self, query: Mapping[str, Any]) -> Row:
        """Return one page of sessions: `total` and `items`."""
        return self._page("session", query, "session")

    def session(self, session: str) -> Row | None:
        """Return one session, or None if it is not open."""
        rows = self._ask("session_rows", names=[session]).values()
        return next((row for found in rows for row in found), None)

    def events(self, **arguments: Any) -> list[Row]:
        """Return the latest events, newest first."""
        found = [event for events in self._ask("events", **arguments).values() for event in events]
        found.sort(key=lambda event: (event["time"], event["number"]), reverse=True)
        return found[: arguments["limit"]]

    def flows(self) -> list[Row]:
        """Return the pairs of gateways with sessions between them, the busiest first."""
        by_pair: dict[tuple[str, str], Row] = {}
        for flows in self._ask("flows").values():
            for flow in flows:
                known = by_pair.setdefault((flow["source"], flow["gateway"]), {**flow, "sessions": 0, "rate": 0.0})
                known["sessions"] += flow["sessions"]
                known["rate"] += flow["rate"]
        return sorted(by_pair.values(), key=lambda flow: -flow["sessions"])[:FLOWS]

    def history(self, after: int = 0) -> list[Row]:
        """Return the points of the last 15 minutes that are later than `after`, oldest first."""
        complete = time.time() - SETTLED
        points = merged(list(self._ask("history", after=after).values()))
        return [point for point in points if point["time"] <= complete]

    def configuration(self) -> Row:
        """Return the proxy's options, without secrets."""
        return self._configuration

    def metrics(self) -> bytes:
        """Return the metrics of this machine's workers for Prometheus, which scrapes each machine separately."""
        slots = {row["worker"]: str(row["slot"]) for row in self._ask_here("worker").values()}
        exported = self._ask_here("metrics")
        return exposition({slot: exported[worker] for worker, slot in slots.items() if worker in exported})

    # Actions. Each returns whether it had an effect.

    def kick_session(self, session: str) -> bool:
        """Reset a session on both sides."""
        return any(self._ask("kick_session", session=session).values())

    def kick_gateway(self, name: str) -> bool:
        """Close a gateway's link; the agent may reconnect."""
        return any(self._ask("kick_gateway", name=name).values())

    def block(self, name: str, blocked: bool) -> bool:
        """Block or unblock a gateway; return whether it was registered."""
        return any(self._ask("block", name=name, blocked=blocked).values())

    def reload(self) -> list[str]:
        """Reload every worker; return the distinct problems."""
        return sorted({problem for problem in self._ask("reload").values() if problem})

    def drain(self, seconds: float) -> None:
        """Begin to drain the proxy for at most `seconds`."""
        self._drain(seconds)

    # Calls to the workers.

    def _ask(self, method: str, **arguments: Any) -> dict[str, Any]:
        name = f"admin_{method}"
        if self._mesh is None:
            return {self._me.id: self._methods[name](arguments)}
        return self._mesh.call_all(name, timeout=TIMEOUT, **arguments)

    def _ask_here(self, method: str) -> dict[str, Any]:
        """Ask the workers of this machine only."""
        name = f"admin_{method}"
        if self._mesh is None:
            return {self._me.id: self._methods[name]({})}
        return self._mesh.call_all(name, timeout=TIMEOUT, node=self._me.node)

    def _page(self, kind: str, query: Mapping[str, Any], name: str) -> Row:
        """Return one page: ask every worker for its first keys, up to the end of the page, then for the page's rows."""
        offset, limit = query["offset"], query["limit"]
        answers = self._ask(f"{kind}_keys", **query, count=offset + limit)
        keys = [(*key, worker) for worker, answer in answers.items() for key in answer["keys"]]
        keys.sort(reverse=query["descending"])
        page = keys[offset : offset + limit]
        rows = {row[name]: row for row in self._rows(kind, name, page)}
        items = [rows[key[1]] for key in page if key[1] in rows]
        return {"total": sum(answer["total"] for answer in answers.values()), "items": items}

    def _rows(self, kind: str, name: str, page: list[tuple[Any, ...]]) -> Iterable[Row]:
        by_worker: dict[str, list[str]] = {}
        for _, key, worker in page:
            by_worker.setdefault(worker, []).append(key)
        for worker, names in by_worker.items():
            while names:
                found = self._call(worker, f"{kind}_rows", names=names[:ROWS_AT_ONCE])
                yield from found
                known = {row[name] for row in found}
                rest = [key for key in names[:ROWS_AT_ONCE] if key not in known] if known else []
                names = rest + names[ROWS_AT_ONCE:]

    def _call(self, worker: str, method: str, **arguments: Any) -> list[Row]:
        name = f"admin_{method}"
        if self._mesh is None:
            found: list[Row] = self._methods[name](arguments)
            return found
        try:
            return list(self._mesh.call(worker, name, timeout=TIMEOUT, **arguments))
        except WorkerUnreachable:
            return []


def nodes(workers: Iterable[Row]) -> list[Row]:
    """Return the machines, each with the sums over its workers."""
    found: dict[str, Row] = {}
    for worker in workers:
        node = found.setdefault(worker["node"], {"node": worker["node"], "workers": 0, **dict.fromkeys(SUMS, 0)})
        node["workers"] += 1
        for name in SUMS:
            node[name] += worker[name]
    return list(found.values())


def status(workers: list[Row], history: list[Row]) -> Row:
    """Return the sums over all workers, and the traffic of the last point."""
    last = history[-1] if history else {"to_exit": 0.0, "to_entry": 0.0, "round_trip": None, "lag": 0.0}
    return {
        "version": workers[0]["version"] if workers else "",
        "started": min((worker["started"] for worker in workers), default=0.0),
        "workers": len(workers),
        "nodes": len({worker["node"] for worker in workers}),
        **{name: sum(worker[name] for worker in workers) for name in SUMS},
        "rate_to_exit": last["to_exit"],
        "rate_to_entry": last["to_entry"],
        "round_trip": last["round_trip"],
        "loop_lag": last["lag"],
    }


SUMS = ("gateways", "sessions_open", "sessions_suspended", "memory", "events_dropped")
