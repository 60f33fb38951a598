"""JSON as Go's encoding/json parses and prints it, and flat lists from which Lua builds tables."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import NoReturn

MAX_VALUES = 50_000
"""Values in one text, arrays and objects included: parsing more would block the hub for too long."""
VALUE, OPEN, CLOSE = 0, 1, 2  # operations of `flatten`, as in sandbox.lua
Scalar = bytes | float | bool | None

# As in Go, each invalid UTF-8 byte and each lone surrogate becomes U+FFFD.
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
    """Return the value of a JSON text; all numbers are floats. Raises ValueError with a one-line message."""
    if sum(map(text.count, (b",", b"{", b"["))) >= MAX_VALUES:
        raise ValueError(f"the text has more than {MAX_VALUES} values")
    try:
        return json.loads(
            text.decode("utf-8", _REPLACE), parse_int=_number, parse_float=_number, parse_constant=_no_constant
        )
    except RecursionError:
        raise ValueError("the text is nested too deeply") from None


def quote(text: bytes) -> bytes:
    """Return `text` as a JSON string, with Go's escapes for HTML."""
    quoted = json.dumps(text.decode("utf-8", _REPLACE), ensure_ascii=False)
    return quoted.translate(_HTML).encode("utf-8")


def number(value: float) -> bytes:
    """Return the shortest text of a finite number: plain from 1e-6 up to 1e21, otherwise with an exponent."""
    value = float(value)
    text = repr(value)
    if value == 0 or 1e-6 <= abs(value) < 1e21:
        text = format(Decimal(text), "f").removesuffix(".0")
    return re.sub(r"e([+-])0(\d)$", r"e\1\2", text).encode("ascii")


def flatten(root: object) -> Iterator[Scalar]:
    """Yield three values for each step that builds `root` in Lua: an operation, a key, a scalar.

    VALUE key scalar: set it. OPEN key: set a new table and enter it. CLOSE: return to the enclosing table.
    The root has the key 1. Mappings and lists become tables. None is omitted, and the other elements of a list keep
    their positions. Raises TypeError for a value without a Lua type.
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
    raise TypeError(f"cannot pass a {type(value).__name__} to Lua")


def to_bytes(text: str) -> bytes:
    """Return the text in UTF-8 for Lua, with the original bytes of surrogateescape."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", _REPLACE)
