"""Numbers, times and tables for a terminal."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

LONGEST_CELL = 48
"""The longest cell of a table, in characters."""


def table(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """Return lines with aligned columns, numbers to the right. Cells longer than LONGEST_CELL are cut."""
    texts = [[_cut(_printable(str(cell))) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(heads, *texts, strict=True)]
    right = [bool(rows) and all(_is_number(row[index]) for row in texts) for index in range(len(heads))]
    return [
        "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in [[head.upper() for head in heads], *texts]
    ]


def bytes_text(count: float) -> str:
    """Return a number of bytes with a fitting unit: 999 B, 1.5 kB, 20 MB."""
    units = ["B", "kB", "MB", "GB", "TB", "PB"]
    unit = 0
    while count >= 999.5 and unit < len(units) - 1:
        count, unit = count / 1000, unit + 1
    return f"{count:.1f} {units[unit]}" if unit and count < 9.95 else f"{count:.0f} {units[unit]}"


def age(since: float) -> str:
    """Return the time that has passed since `since`, in seconds since 1970, as a text."""
    seconds = max(0, round(time.time() - since))
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min"
    if seconds < 86400:
        return f"{seconds // 3600} h {seconds % 3600 // 60} min"
    return f"{seconds // 86400} d {seconds % 86400 // 3600} h"


def millis(seconds: float | None) -> str:
    """Return a short time as a text in milliseconds, or "-" if unknown."""
    if seconds is None:
        return "-"
    return f"{seconds * 1000:.1f} ms" if seconds < 0.00995 else f"{seconds * 1000:.0f} ms"


def clock(moment: float) -> str:
    """Return the local time of day, with the date unless it is today."""
    then, now = time.localtime(moment), time.localtime()
    return time.strftime("%H:%M:%S" if then[:3] == now[:3] else "%Y-%m-%d %H:%M:%S", then)


def event_text(event: dict[str, Any]) -> str:
    """Return an event as one line: its kind and its non-empty fields."""
    left_out = ("event", "time", "worker", "number")
    fields = (f"{name}={_value(value)}" for name, value in event.items() if name not in left_out and value != "")
    return f"{event['event']:<21} {' '.join(fields)}"


def _value(value: Any) -> str:
    text = f"{value:.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else _printable(str(value))
    return f'"{text}"' if " " in text else text


def _cut(text: str) -> str:
    """Cut long names, which would push other columns off the screen. `--json` shows them in full."""
    return text if len(text) <= LONGEST_CELL else f"{text[: LONGEST_CELL - 3]}..."


def _printable(text: str) -> str:
    """Replace unprintable characters: agents choose names, which must not control the terminal."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def _is_number(text: str) -> bool:
    return text[:1].isdigit() and text.replace(".", "").split(" ")[0].isdigit() and text.count(".") < 2
