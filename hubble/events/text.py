"""Events as JSON, one line each."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from hubble.base.slices import in_slices
from hubble.events.model import Event, as_dict, timestamp

_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


def record(event: Event) -> dict[str, Any]:
    """Return the event's fields, with its time as text (RFC 3339)."""
    fields = as_dict(event)
    fields["time"] = timestamp(event.time)
    return fields


def line(event: Event) -> str:
    """Return the event as one line of JSON, without a line break."""
    return _encode(record(event))


def lines(events: Iterable[Event]) -> list[bytes]:
    """Return each event as a line of JSON in UTF-8, with its line break. Lone surrogates become "?".

    Yields to other greenlets, because a thousand events take some milliseconds.
    """
    return [line(event).encode("utf-8", "replace") + b"\n" for event in in_slices(events)]
