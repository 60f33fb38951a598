"""Checks of the API's query parameters and request bodies."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl
from uuid import UUID

from hubble.admin.views import GATEWAY_KEYS, SESSION_KEYS
from hubble.base.names import MAX_NAME
from hubble.events import KINDS

MAX_LIMIT, MAX_OFFSET, MAX_SEARCH, MAX_BODY = 200, 5_000, 200, 10_000
MAX_DRAIN = 3600


class BadRequest(Exception):
    """The request is invalid; the text names the error."""


@dataclass(frozen=True)
class Parameter:
    """One parameter: its name, its JSON Schema, which also drives the check, and its description."""

    name: str
    schema: Mapping[str, Any]
    meaning: str

    def parse(self, text: str) -> Any:
        """Return the parameter's value. Raises BadRequest."""
        schema = self.schema
        if "enum" in schema and text not in schema["enum"]:
            raise BadRequest(f"{self.name} must be one of {', '.join(schema['enum'])}")
        if schema["type"] == "integer":
            return self._integer(text)
        if len(text) > schema.get("maxLength", 1 << 20) or len(text) < schema.get("minLength", 0):
            raise BadRequest(f"{self.name} is too {'long' if text else 'short'}")
        return text

    def _integer(self, text: str) -> int:
        least, most = self.schema["minimum"], self.schema["maximum"]
        digits = text.removeprefix("-")
        if not (digits.isascii() and digits.isdecimal() and len(digits) < 12 and least <= int(text) <= most):
            raise BadRequest(f"{self.name} must be a whole number from {least} to {most}")
        return int(text)


def _choice(name: str, values: list[str], default: str, meaning: str) -> Parameter:
    return Parameter(name, {"type": "string", "enum": values, "default": default}, meaning)


def _text(name: str, meaning: str, longest: int = MAX_SEARCH) -> Parameter:
    return Parameter(name, {"type": "string", "maxLength": longest, "default": ""}, meaning)


def _number(name: str, least: int, most: int, default: int, meaning: str) -> Parameter:
    return Parameter(name, {"type": "integer", "minimum": least, "maximum": most, "default": default}, meaning)


SEARCH = _text("search", "select items with this text in a name or address; not case-sensitive")
ORDER = _choice("order", ["asc", "desc"], "asc", "ascending or descending")
PAGE = (
    _number("offset", 0, MAX_OFFSET, 0, "number of items to skip"),
    _number("limit", 1, MAX_LIMIT, 50, "maximum number of items"),
)
GATEWAYS = (SEARCH, _choice("sort", list(GATEWAY_KEYS), "name", "sort key"), ORDER, *PAGE)
SESSIONS = (
    SEARCH,
    _choice("state", ["", "open", "suspended"], "", "select sessions in this state"),
    _text("gateway", "select sessions with this gateway at either end", MAX_NAME),
    _choice("sort", list(SESSION_KEYS), "since", "sort key"),
    ORDER,
    *PAGE,
)
EVENTS = (
    _number("limit", 1, 500, 100, "maximum number of events"),
    _choice("kind", ["", *(kind.__name__ for kind in KINDS)], "", "select events of this kind"),
    _text("about", "select events about this session or gateway", MAX_NAME),
)
HISTORY = (_number("after", 0, 99_999_999_999, 0, "select points later than this time, in seconds since 1970"),)
STREAM = (*SESSIONS, _number("gateways_offset", 0, MAX_OFFSET, 0, "number of gateways to skip"))


def parse(query: str, parameters: tuple[Parameter, ...]) -> dict[str, Any]:
    """Return the values of `parameters` in a query string, with their defaults; `order` becomes `descending`.

    Raises BadRequest for a parameter that is unknown, repeated or malformed.
    """
    values = {parameter.name: parameter.schema["default"] for parameter in parameters}
    known = {parameter.name: parameter for parameter in parameters}
    seen: set[str] = set()
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query), errors="strict")
    except ValueError as error:
        raise BadRequest("malformed query string") from error
    for name, text in pairs:
        if name not in known:
            raise BadRequest(f"unknown parameter {name!r}; allowed here: {', '.join(known) or 'none'}")
        if name in seen:
            raise BadRequest(f"{name} is repeated; give it once")
        seen.add(name)
        values[name] = known[name].parse(text)
    if "order" in values:
        values["descending"] = values.pop("order") == "desc"
    return values


def session_id(text: str) -> str:
    """Return a session's id in its canonical form. Raises BadRequest."""
    try:
        if len(text) == 36:
            return str(UUID(text))
    except ValueError:
        pass
    raise BadRequest("invalid session id; an id looks like 0b8f7a52-6c1e-4f0b-9a53-2f1f6f0c9d11")


def gateway_name(body: bytes) -> str:
    """Return the `name` in a JSON object. Raises BadRequest."""
    fields = _fields(body, {"name": lambda value: isinstance(value, str) and 0 < len(value) <= MAX_NAME})
    if "name" not in fields:
        raise BadRequest('the body must be {"name": "..."}')
    return str(fields["name"])


def drain_seconds(body: bytes) -> float:
    """Return the `seconds` in a JSON object, by default 30. Raises BadRequest."""
    fields = _fields(body or b"{}", {"seconds": _is_drain_time})
    return float(fields.get("seconds", 30))


def _is_drain_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MAX_DRAIN


def _fields(body: bytes, allowed: Mapping[str, Callable[[Any], bool]]) -> dict[str, Any]:
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRequest("the body is not valid JSON") from error
    if not isinstance(fields, dict):
        raise BadRequest("the body must be a JSON object")
    for name, value in fields.items():
        if name not in allowed:
            raise BadRequest(f"unknown field {name[:50]!r}; allowed here: {', '.join(allowed)}")
        if not allowed[name](value):
            raise BadRequest(f"invalid value of {name}; see /openapi.json")
    return fields
