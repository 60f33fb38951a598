"""The description of the API (OpenAPI 3.1), generated from the table of endpoints."""

from __future__ import annotations

from typing import Any

from hubble import __version__
from hubble.admin.endpoints import ENDPOINTS, SCHEMAS, Endpoint, Schema, ref

UUID = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
SESSION_ID = {
    "name": "session", "in": "path", "required": True, "schema": {"type": "string", "pattern": UUID},
    "description": "the session's id",
}  # fmt: skip
MEANINGS = {400: "Invalid request", 401: "Missing or wrong token", 404: "Not found"}


def description() -> Schema:
    """Return the document that the listener serves as /openapi.json."""
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
        "paths": _paths(),
    }


def _paths() -> Schema:
    paths: dict[str, Any] = {}
    for endpoint in ENDPOINTS:
        if endpoint.result is not None:
            path = paths.setdefault(endpoint.path, {"parameters": [SESSION_ID]} if endpoint.of_session else {})
            path[endpoint.method.lower()] = _operation(endpoint)
    return paths


def _operation(endpoint: Endpoint) -> Schema:
    assert endpoint.result is not None
    responses = {str(endpoint.status): _response("Success", endpoint.result)}
    for status in (400, 401, *((404,) if endpoint.may_miss else ())):
        responses[str(status)] = _response(MEANINGS[status], ref("Error"))
    operation: Schema = {"summary": endpoint.summary, "responses": responses}
    if endpoint.parameters:
        operation["parameters"] = [
            {"name": one.name, "in": "query", "schema": dict(one.schema), "description": one.meaning}
            for one in endpoint.parameters
        ]
    if endpoint.body is not None:
        content = {"application/json": {"schema": ref(endpoint.body.schema)}}
        operation["requestBody"] = {"required": endpoint.body.required, "content": content}
    return operation


def _response(meaning: str, schema: Schema) -> Schema:
    return {"description": meaning, "content": {"application/json": {"schema": schema}}}
