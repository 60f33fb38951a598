"""The parameters of the API's requests: what they may be, and what is wrong with those that are not."""

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
    """The request cannot be meant: the text says why."""


@dataclass(frozen=True)
class Parameter:
    """One parameter: its JSON Schema, from which it is checked and described, and its meaning."""

    name: str
    schema: Mapping[str, Any]
    meaning: str

    def parse(self, text: str) -> Any:
        """Its value. Raises BadRequest."""
        schema = self.schema
        if "enum" in schema and text not in schema["enum"]:
            raise BadRequest(f"{self.name} should be one of {', '.join(schema['enum'])}")
        if schema["type"] == "integer":
            return self._integer(text)
        if len(text) > schema.get("maxLength", 1 << 20) or len(text) < schema.get("minLength", 0):
            raise BadRequest(f"{self.name} is too {'long' if text else 'short'}")
        return text

    def _integer(self, text: str) -> int:
        least, most = self.schema["minimum"], self.schema["maximum"]
        digits = text.removeprefix("-")
        if not (digits.isascii() and digits.isdecimal() and len(digits) < 12 and least <= int(text) <= most):
            raise BadRequest(f"{self.name} should be a whole number from {least} to {most}")
        return int(text)


def _choice(name: str, values: list[str], default: str, meaning: str) -> Parameter:
    return Parameter(name, {"type": "string", "enum": values, "default": default}, meaning)


def _text(name: str, meaning: str, longest: int = MAX_SEARCH) -> Parameter:
    return Parameter(name, {"type": "string", "maxLength": longest, "default": ""}, meaning)


def _number(name: str, least: int, most: int, default: int, meaning: str) -> Parameter:
    return Parameter(name, {"type": "integer", "minimum": least, "maximum": most, "default": default}, meaning)


SEARCH = _text("search", "only those with this text in one of their names or addresses; case does not matter")
ORDER = _choice("order", ["asc", "desc"], "asc", "upwards or downwards")
PAGE = (
    _number("offset", 0, MAX_OFFSET, 0, "how many to leave out"),
    _number("limit", 1, MAX_LIMIT, 50, "how many to give at most"),
)
GATEWAYS = (SEARCH, _choice("sort", list(GATEWAY_KEYS), "name", "what to sort by"), ORDER, *PAGE)
SESSIONS = (
    SEARCH,
    _choice("state", ["", "open", "suspended"], "", "only those in this state"),
    _text("gateway", "only those with this gateway at either end", MAX_NAME),
    _choice("sort", list(SESSION_KEYS), "since", "what to sort by"),
    ORDER,
    *PAGE,
)
EVENTS = (
    _number("limit", 1, 500, 100, "how many to give at most"),
    _choice("kind", ["", *(kind.__name__ for kind in KINDS)], "", "only this kind"),
    _text("about", "only those about this session or gateway", MAX_NAME),
)
HISTORY = (_number("after", 0, 99_999_999_999, 0, "only points later than this, in seconds since 1970"),)
STREAM = (*SESSIONS, _number("gateways_offset", 0, MAX_OFFSET, 0, "how many gateways to leave out"))


def parse(query: str, parameters: tuple[Parameter, ...]) -> dict[str, Any]:
    """The values of `parameters` in a query string, with their defaults; `order` becomes `descending`.

    Raises BadRequest for one that is unknown, given twice or malformed.
    """
    values = {parameter.name: parameter.schema["default"] for parameter in parameters}
    known = {parameter.name: parameter for parameter in parameters}
    seen: set[str] = set()
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query), errors="strict")
    except ValueError as error:
        raise BadRequest("the query is malformed") from error
    for name, text in pairs:
        if name not in known:
            raise BadRequest(f"there is no parameter {name!r} here: there are {', '.join(known) or 'none'}")
        if name in seen:
            raise BadRequest(f"{name} is given twice")
        seen.add(name)
        values[name] = known[name].parse(text)
    if "order" in values:
        values["descending"] = values.pop("order") == "desc"
    return values


def session_id(text: str) -> str:
    """A session's id as it is written everywhere. Raises BadRequest."""
    try:
        if len(text) == 36:
            return str(UUID(text))
    except ValueError:
        pass
    raise BadRequest("a session's id looks like 0b8f7a52-6c1e-4f0b-9a53-2f1f6f0c9d11")


def gateway_name(body: bytes) -> str:
    """Return the `name` in a JSON object. Raises BadRequest."""
    fields = _fields(body, {"name": lambda value: isinstance(value, str) and 0 < len(value) <= MAX_NAME})
    if "name" not in fields:
        raise BadRequest('the body should be {"name": "..."}')
    return str(fields["name"])


def drain_seconds(body: bytes) -> float:
    """The `seconds` in a JSON object, 30 if it has none. Raises BadRequest."""
    fields = _fields(body or b"{}", {"seconds": _is_drain_time})
    return float(fields.get("seconds", 30))


def _is_drain_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MAX_DRAIN


def _fields(body: bytes, allowed: Mapping[str, Callable[[Any], bool]]) -> dict[str, Any]:
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRequest("the body is no JSON") from error
    if not isinstance(fields, dict):
        raise BadRequest("the body should be a JSON object")
    for name, value in fields.items():
        if name not in allowed:
            raise BadRequest(f"there is no field {name[:50]!r} here: there is {', '.join(allowed)}")
        if not allowed[name](value):
            raise BadRequest(f"{name} is not what it should be")
    return fields
