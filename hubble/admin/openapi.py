"""The description of the API (OpenAPI 3.1), made of what it checks its requests by."""

from __future__ import annotations

import dataclasses
from typing import Any

from hubble import __version__
from hubble.admin import queries
from hubble.admin.queries import Parameter
from hubble.base.facts import PublicFacts
from hubble.base.names import MAX_NAME
from hubble.events import KINDS

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "number"}
COUNT: Schema = {"type": "integer", "minimum": 0}
FLAG: Schema = {"type": "boolean"}
MAYBE: Schema = {"type": ["number", "null"]}
OF_TYPE = {"str": TEXT, "float": NUMBER, "int": {"type": "integer"}, "bool": FLAG}


def _object(**properties: Schema) -> Schema:
    return {
        "type": "object", "properties": properties, "required": list(properties), "additionalProperties": False,
    }  # fmt: skip


def _list(item: str) -> Schema:
    return _object(items={"type": "array", "items": _ref(item)})


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


WORKER = _object(
    worker=TEXT, node=TEXT, slot=COUNT, pid=COUNT, version=TEXT, started=NUMBER, gateways=COUNT, sessions_open=COUNT,
    sessions_suspended=COUNT, loop_lag=NUMBER, memory=COUNT, cpu_seconds=NUMBER, events_dropped=COUNT,
)  # fmt: skip
SUMS: Schema = {"gateways": COUNT, "sessions_open": COUNT, "sessions_suspended": COUNT, "memory": COUNT,
                "events_dropped": COUNT}  # fmt: skip
GATEWAY = _object(
    name=TEXT, address=TEXT, identity=TEXT, since=NUMBER, resumable=FLAG, round_trip=MAYBE, sessions=COUNT,
    queued_bytes=COUNT, worker=TEXT, node=TEXT,
)  # fmt: skip
SESSION = _object(
    **{field.name: OF_TYPE[str(field.type)] for field in dataclasses.fields(PublicFacts)},
    state={"enum": ["open", "suspended"]}, since=NUMBER, suspended=MAYBE, resumptions=COUNT, bytes_to_exit=COUNT,
    bytes_to_entry=COUNT, rate_to_exit=NUMBER, rate_to_entry=NUMBER, worker=TEXT, node=TEXT,
)  # fmt: skip
SCHEMAS: Schema = {
    "Error": _object(error=TEXT),
    "Done": _object(done=FLAG),
    "Blocked": _object(done=FLAG, registered=FLAG),
    "Reloaded": _object(done=FLAG, problems={"type": "array", "items": TEXT}),
    "Worker": WORKER,
    "Node": _object(node=TEXT, workers=COUNT, **SUMS),
    "Status": _object(
        version=TEXT, started=NUMBER, workers=COUNT, nodes=COUNT, **SUMS, rate_to_exit=NUMBER, rate_to_entry=NUMBER,
        round_trip=MAYBE, loop_lag=NUMBER,
    ),
    "Gateway": GATEWAY,
    "Session": SESSION,
    "Flow": _object(source=TEXT, gateway=TEXT, sessions=COUNT, rate=NUMBER),
    "Point": _object(
        time=COUNT, sessions=COUNT, gateways=COUNT, to_exit=NUMBER, to_entry=NUMBER, round_trip=MAYBE, lag=NUMBER
    ),
    "GatewayPage": _object(total=COUNT, items={"type": "array", "items": _ref("Gateway")}),
    "SessionPage": _object(total=COUNT, items={"type": "array", "items": _ref("Session")}),
    "Name": {
        "type": "object", "properties": {"name": {"type": "string", "minLength": 1, "maxLength": MAX_NAME}},
        "required": ["name"], "additionalProperties": False,
    },
    "DrainTime": {
        "type": "object", "properties": {"seconds": {"type": "number", "minimum": 0, "maximum": queries.MAX_DRAIN}},
        "additionalProperties": False,
    },
    "Event": {"anyOf": [
        _object(event={"const": kind.__name__}, number=COUNT,
                **{field.name: OF_TYPE[str(field.type)] for field in dataclasses.fields(kind)})
        for kind in KINDS
    ]},
}  # fmt: skip
UUID = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
SESSION_ID = {
    "name": "session", "in": "path", "required": True, "schema": {"type": "string", "pattern": UUID},
    "description": "the session's id",
}  # fmt: skip


def description() -> Schema:
    """The document that the listener serves as /openapi.json."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Hubble proxy",
            "version": __version__,
            "description": "Times are in seconds since 1970, durations in seconds, sizes in bytes.",
        },
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}],
        "paths": {
            "/api/status": {"get": _get("The whole proxy in a few numbers", _ref("Status"))},
            "/api/gateways": {"get": _get("Gateways, a page at a time", _ref("GatewayPage"), queries.GATEWAYS)},
            "/api/gateways/kick": {"post": _named("Close a gateway's link; the agent may come back", "Done", 404)},
            "/api/gateways/block": {"post": _named("End a gateway's sessions, and let it not register", "Blocked")},
            "/api/gateways/unblock": {"post": _named("Let a gateway register again", "Done")},
            "/api/sessions": {"get": _get("Sessions, a page at a time", _ref("SessionPage"), queries.SESSIONS)},
            "/api/sessions/{session}": {
                "parameters": [SESSION_ID],
                "get": _operation("One session", {200: _ref("Session")}, (400, 404)),
            },
            "/api/sessions/{session}/kick": {
                "parameters": [SESSION_ID],
                "post": _operation("End a session by a reset on both sides", {200: _ref("Done")}, (400, 404)),
            },
            "/api/events": {"get": _get("The latest events, newest first", _list("Event"), queries.EVENTS)},
            "/api/workers": {"get": _get("The workers that answer", _list("Worker"))},
            "/api/nodes": {"get": _get("The machines", _list("Node"))},
            "/api/flows": {"get": _get("Which gateways talk to which", _list("Flow"))},
            "/api/history": {"get": _get("The last 15 minutes, in steps of 5 s", _list("Point"), queries.HISTORY)},
            "/api/configuration": {
                "get": _get("What the proxy was told, without secrets", {"type": "object"}),
            },
            "/api/reload": {"post": _operation("Read files again", {200: _ref("Reloaded")}, (400,))},
            "/api/drain": {
                "post": {
                    **_operation("Let the agents move elsewhere, and end", {202: _ref("Done")}, (400,)),
                    "requestBody": _body("DrainTime", required=False),
                }
            },
        },
    }


def _get(summary: str, result: Schema, parameters: tuple[Parameter, ...] = ()) -> Schema:
    described = [
        {"name": one.name, "in": "query", "schema": dict(one.schema), "description": one.meaning} for one in parameters
    ]
    return {**_operation(summary, {200: result}, (400,)), "parameters": described}


def _named(summary: str, result: str, *problems: int) -> Schema:
    return {**_operation(summary, {200: _ref(result)}, (400, *problems)), "requestBody": _body("Name")}


def _body(name: str, required: bool = True) -> Schema:
    return {"required": required, "content": {"application/json": {"schema": _ref(name)}}}


def _operation(summary: str, results: dict[int, Schema], problems: tuple[int, ...]) -> Schema:
    meanings = {400: "The request cannot be meant", 401: "The token is missing or wrong", 404: "There is no such thing"}
    responses = {
        str(status): {"description": "It is so", "content": {"application/json": {"schema": schema}}}
        for status, schema in results.items()
    }
    for status in (401, *problems):
        responses[str(status)] = {
            "description": meanings[status],
            "content": {"application/json": {"schema": _ref("Error")}},
        }
    return {"summary": summary, "responses": responses}
