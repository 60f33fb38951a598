"""Events as JSON, one line each."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from hubble.base.slices import in_slices
from hubble.events.model import Event, as_dict, timestamp

_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


def record(event: Event) -> dict[str, Any]:
    """What a logger writes down: the event's fields, its time as text (RFC 3339)."""
    fields = as_dict(event)
    fields["time"] = timestamp(event.time)
    return fields


def line(event: Event) -> str:
    """The event as one line of JSON, with no line break in it or behind it."""
    return _encode(record(event))


def lines(events: Iterable[Event]) -> list[bytes]:
    """Each event as a line of JSON in UTF-8, its line break included. Halves of characters become "?".

    Others have their turns meanwhile, as a thousand events take some milliseconds.
    """
    return [line(event).encode("utf-8", "replace") + b"\n" for event in in_slices(events)]
