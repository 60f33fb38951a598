"""The JSON Schemas of what the API takes and gives, by name; those of rows follow the data classes."""

from __future__ import annotations

import dataclasses
from typing import Any

from hubble.admin import queries
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
