"""The endpoints of the API: path, parameters, body, result and handler of each.

Requests are checked against this table, and hubble.admin.openapi generates the API description from it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from hubble.admin import queries
from hubble.admin.live import LiveViews
from hubble.admin.queries import Parameter
from hubble.admin.service import Admin
from hubble.base.facts import PublicFacts
from hubble.base.names import MAX_NAME
from hubble.events.model import KINDS

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "number"}
COUNT: Schema = {"type": "integer", "minimum": 0}
FLAG: Schema = {"type": "boolean"}
MAYBE: Schema = {"type": ["number", "null"]}
OF_TYPE = {"str": TEXT, "float": NUMBER, "int": {"type": "integer"}, "bool": FLAG}


def object_of(**properties: Schema) -> Schema:
    return {
        "type": "object", "properties": properties, "required": list(properties), "additionalProperties": False,
    }  # fmt: skip


def list_of(item: str) -> Schema:
    return object_of(items={"type": "array", "items": ref(item)})


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


WORKER = object_of(
    worker=TEXT, node=TEXT, slot=COUNT, pid=COUNT, version=TEXT, started=NUMBER, gateways=COUNT, sessions_open=COUNT,
    sessions_suspended=COUNT, loop_lag=NUMBER, memory=COUNT, cpu_seconds=NUMBER, events_dropped=COUNT,
)  # fmt: skip
SUMS: Schema = {"gateways": COUNT, "sessions_open": COUNT, "sessions_suspended": COUNT, "memory": COUNT,
                "events_dropped": COUNT}  # fmt: skip
GATEWAY = object_of(
    name=TEXT, address=TEXT, identity=TEXT, since=NUMBER, resumable=FLAG, round_trip=MAYBE, sessions=COUNT,
    queued_bytes=COUNT, worker=TEXT, node=TEXT,
)  # fmt: skip
SESSION = object_of(
    **{field.name: OF_TYPE[str(field.type)] for field in dataclasses.fields(PublicFacts)},
    state={"enum": ["open", "suspended"]}, since=NUMBER, suspended=MAYBE, resumptions=COUNT, bytes_to_exit=COUNT,
    bytes_to_entry=COUNT, rate_to_exit=NUMBER, rate_to_entry=NUMBER, worker=TEXT, node=TEXT,
)  # fmt: skip
SCHEMAS: Schema = {
    "Error": object_of(error=TEXT),
    "Done": object_of(done=FLAG),
    "Blocked": object_of(done=FLAG, registered=FLAG),
    "Reloaded": object_of(done=FLAG, problems={"type": "array", "items": TEXT}),
    "Worker": WORKER,
    "Node": object_of(node=TEXT, workers=COUNT, **SUMS),
    "Status": object_of(
        version=TEXT, started=NUMBER, workers=COUNT, nodes=COUNT, **SUMS, rate_to_exit=NUMBER, rate_to_entry=NUMBER,
        round_trip=MAYBE, loop_lag=NUMBER,
    ),
    "Gateway": GATEWAY,
    "Session": SESSION,
    "Flow": object_of(source=TEXT, gateway=TEXT, sessions=COUNT, rate=NUMBER),
    "Point": object_of(
        time=COUNT, sessions=COUNT, gateways=COUNT, to_exit=NUMBER, to_entry=NUMBER, round_trip=MAYBE, lag=NUMBER
    ),
    "GatewayPage": object_of(total=COUNT, items={"type": "array", "items": ref("Gateway")}),
    "SessionPage": object_of(total=COUNT, items={"type": "array", "items": ref("Session")}),
    "Name": {
        "type": "object", "properties": {"name": {"type": "string", "minLength": 1, "maxLength": MAX_NAME}},
        "required": ["name"], "additionalProperties": False,
    },
    "DrainTime": {
        "type": "object", "properties": {"seconds": {"type": "number", "minimum": 0, "maximum": queries.MAX_DRAIN}},
        "additionalProperties": False,
    },
    "Event": {"anyOf": [
        object_of(event={"const": kind.__name__}, number=COUNT,
                **{field.name: OF_TYPE[str(field.type)] for field in dataclasses.fields(kind)})
        for kind in KINDS
    ]},
}  # fmt: skip


class NotFound(Exception):
    """The requested object does not exist; the text names it."""


class Busy(Exception):
    """Too many requests of this kind are open."""


@dataclass(frozen=True)
class Request:
    """A checked request. body: the result of the endpoint's body parser. session: the id in the path, or ""."""

    admin: Admin
    streams: LiveViews
    query: dict[str, Any]
    body: Any
    session: str
    disconnected: Callable[[float], bool]
    """Wait up to the given seconds until the client disconnects; return whether it has."""


@dataclass(frozen=True)
class Body:
    """The description of a request's body: the name of its schema, and its parser, which raises BadRequest."""

    schema: str
    parse: Callable[[bytes], Any]
    required: bool = True


@dataclass(frozen=True)
class Endpoint:
    """One endpoint. A `path` with `{session}` contains a session's id; `may_miss`: `answer` may raise NotFound.

    `answer` returns a JSON value that `result` describes. If `result` is None, it returns server-sent events.
    """

    method: str
    path: str
    summary: str
    answer: Callable[[Request], Any]
    result: Schema | None
    parameters: tuple[Parameter, ...] = ()
    body: Body | None = None
    status: int = 200
    may_miss: bool = False

    @property
    def of_session(self) -> bool:
        """Return whether the path contains a session's id."""
        return "{session}" in self.path


def _items(rows: Iterable[Any]) -> dict[str, Any]:
    return {"items": list(rows)}


def _events(request: Request) -> Any:
    query = request.query
    kinds = [query["kind"]] if query["kind"] else []
    return _items(request.admin.events(limit=query["limit"], kinds=kinds, about=query["about"]))


def _session(request: Request) -> Any:
    found = request.admin.session(request.session)
    if found is None:
        raise NotFound("this session is not open")
    return found


def _kick_session(request: Request) -> Any:
    if not request.admin.kick_session(request.session):
        raise NotFound("this session is not open")
    return {"done": True}


def _kick_gateway(request: Request) -> Any:
    if not request.admin.kick_gateway(request.body):
        raise NotFound("this gateway is not registered")
    return {"done": True}


def _unblock(request: Request) -> Any:
    request.admin.block(request.body, False)
    return {"done": True}


def _reload(request: Request) -> Any:
    problems = request.admin.reload()
    return {"done": not problems, "problems": problems}


def _drain(request: Request) -> Any:
    request.admin.drain(request.body)
    return {"done": True}


def _stream(request: Request) -> Any:
    if request.streams.full:
        raise Busy("too many dashboards are open; close one")
    return request.streams.follow(request.query, request.disconnected)


NAME = Body("Name", queries.gateway_name)
DRAIN = Body("DrainTime", queries.drain_seconds, required=False)

ENDPOINTS = (
    Endpoint("GET", "/api/status", "Summarize the whole proxy", lambda r: r.admin.status(), ref("Status")),
    Endpoint(
        "GET", "/api/gateways", "List gateways, a page at a time", lambda r: r.admin.gateways(r.query),
        ref("GatewayPage"), queries.GATEWAYS,
    ),
    Endpoint(
        "POST", "/api/gateways/kick", "Close a gateway's link; the agent may reconnect", _kick_gateway, ref("Done"),
        body=NAME, may_miss=True,
    ),
    Endpoint(
        "POST", "/api/gateways/block", "Block a gateway: end its sessions and refuse its registrations",
        lambda r: {"done": True, "registered": r.admin.block(r.body, True)}, ref("Blocked"), body=NAME,
    ),
    Endpoint("POST", "/api/gateways/unblock", "Unblock a gateway", _unblock, ref("Done"), body=NAME),
    Endpoint(
        "GET", "/api/sessions", "List sessions, a page at a time", lambda r: r.admin.sessions(r.query),
        ref("SessionPage"), queries.SESSIONS,
    ),
    Endpoint("GET", "/api/sessions/{session}", "Show one session", _session, ref("Session"), may_miss=True),
    Endpoint(
        "POST", "/api/sessions/{session}/kick", "Reset a session on both sides", _kick_session, ref("Done"),
        may_miss=True,
    ),
    Endpoint("GET", "/api/events", "List the latest events, newest first", _events, list_of("Event"), queries.EVENTS),
    Endpoint("GET", "/api/workers", "List the workers", lambda r: _items(r.admin.workers()), list_of("Worker")),
    Endpoint("GET", "/api/nodes", "List the machines", lambda r: _items(r.admin.nodes()), list_of("Node")),
    Endpoint(
        "GET", "/api/flows", "List the pairs of gateways with sessions", lambda r: _items(r.admin.flows()),
        list_of("Flow"),
    ),
    Endpoint(
        "GET", "/api/history", "Show the last 15 minutes, in steps of 5 s",
        lambda r: _items(r.admin.history(**r.query)), list_of("Point"), queries.HISTORY,
    ),
    Endpoint(
        "GET", "/api/configuration", "Show the proxy's options, without secrets", lambda r: r.admin.configuration(),
        {"type": "object"},
    ),
    Endpoint("POST", "/api/reload", "Reload the policy and certificates", _reload, ref("Reloaded")),
    Endpoint(
        "POST", "/api/drain", "Ask the agents to move elsewhere, then stop", _drain, ref("Done"), body=DRAIN, status=202
    ),
    Endpoint("GET", "/api/stream", "Stream the dashboard's view", _stream, None, queries.STREAM),
)  # fmt: skip


def find(path: str) -> tuple[dict[str, Endpoint], str]:
    """Return the endpoints at a path, by method, and the session's id in the path, unchecked, or ""."""
    parts = path.split("/")
    found: dict[str, Endpoint] = {}
    session = ""
    for endpoint in ENDPOINTS:
        if _matches(endpoint.path.split("/"), parts):
            found[endpoint.method] = endpoint
            session = parts[3] if endpoint.of_session else ""
    return found, session


def _matches(template: list[str], parts: list[str]) -> bool:
    return len(template) == len(parts) and all(map(lambda fixed, part: fixed in ("{session}", part), template, parts))
