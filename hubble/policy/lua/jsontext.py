"""JSON as Go's encoding/json reads and prints it, and Python values as the flat list that Lua builds tables from."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import NoReturn

MAX_VALUES = 50_000  # in one text, arrays and objects counted too: parsing more would keep the hub for too long
VALUE, OPEN, CLOSE = 0, 1, 2  # operations of `flatten`, as in sandbox.lua
Scalar = bytes | float | bool | None

# As Go does: each byte that is no UTF-8, and each half of a surrogate pair, becomes U+FFFD.
_REPLACE = "hubble.replace"


def _replacement(error: UnicodeError) -> tuple[str | bytes, int]:
    assert isinstance(error, UnicodeDecodeError | UnicodeEncodeError)
    text = "\ufffd" * (error.end - error.start)
    return text if isinstance(error, UnicodeDecodeError) else text.encode("utf-8"), error.end


codecs.register_error(_REPLACE, _replacement)

_HTML = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"invalid number {name}")


def _number(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"number {text[:40]} is out of range")
    return value


def decode(text: bytes) -> object:
    """The value of a JSON text, its numbers all floats. Raises ValueError, with a message of one line."""
    if sum(map(text.count, (b",", b"{", b"["))) >= MAX_VALUES:
        raise ValueError(f"more than {MAX_VALUES} values")
    try:
        return json.loads(
            text.decode("utf-8", _REPLACE), parse_int=_number, parse_float=_number, parse_constant=_no_constant
        )
    except RecursionError:
        raise ValueError("nested too deeply") from None


def quote(text: bytes) -> bytes:
    """`text` as a JSON string, with Go's escapes for HTML."""
    quoted = json.dumps(text.decode("utf-8", _REPLACE), ensure_ascii=False)
    return quoted.translate(_HTML).encode("utf-8")


def number(value: float) -> bytes:
    """A finite number, as short as it can be read back: plain from 1e-6 up to 1e21, with an exponent outside."""
    value = float(value)
    text = repr(value)
    if value == 0 or 1e-6 <= abs(value) < 1e21:
        text = format(Decimal(text), "f").removesuffix(".0")
    return re.sub(r"e([+-])0(\d)$", r"e\1\2", text).encode("ascii")


def flatten(root: object) -> Iterator[Scalar]:
    """Three values for each step of building `root` in Lua: an operation, a key, a scalar.

    VALUE key scalar: set it. OPEN key: set a new table and go into it. CLOSE: go back to the table around it.
    The root itself has the key 1. Mappings and lists become tables; None is left out, so that a list keeps the
    positions of its other elements. Raises TypeError for what Lua has no type for.
    """
    pending: list[Iterator[tuple[object, object]]] = [iter([(1, root)])]
    while pending:
        item = next(pending[-1], None)
        if item is None:
            pending.pop()
            if pending:
                yield from (CLOSE, None, None)
            continue
        key, value = item
        if isinstance(value, Mapping):
            yield from (OPEN, _scalar(key), None)
            pending.append(iter(value.items()))
        elif isinstance(value, list | tuple):
            yield from (OPEN, _scalar(key), None)
            pending.append(enumerate(value, start=1))
        elif value is not None:
            yield from (VALUE, _scalar(key), _scalar(value))


def _scalar(value: object) -> Scalar:
    if isinstance(value, str):
        return to_bytes(value)
    if isinstance(value, bytes | bool):
        return value
    if isinstance(value, int | float):
        return float(value)
    raise TypeError(f"cannot hand a {type(value).__name__} to Lua")


def to_bytes(text: str) -> bytes:
    """The text as Lua gets it: UTF-8, with the bytes that surrogateescape hid as they were."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", _REPLACE)
