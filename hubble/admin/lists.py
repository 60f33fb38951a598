"""Lists for monitoring: sorted, and shortened to the size of a message. Works in slices of time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from hubble.base.slices import CHUNK, in_chunks, in_slices

Item = TypeVar("Item")

LIST_SIZE = 400_000
"""The longest list, in bytes of JSON."""
LONGEST_CHARACTER = 12
"""The most bytes of JSON that one character takes: two escapes."""

Row = dict[str, Any]
Key = tuple[Any, Any]


def first_keys(
    items: Sequence[Item],
    count: int,
    key: Callable[[Item], Key],
    *,
    descending: bool,
    wanted: Callable[[Item], bool] | None = None,
) -> tuple[int, list[Key]]:
    """Return how many items are wanted, and the first `count` of their keys in order."""
    total = 0
    found: list[Key] = []
    for chunk in in_chunks(items):
        chosen = chunk if wanted is None else [item for item in chunk if wanted(item)]
        total += len(chosen)
        found += map(key, chosen)
        if len(found) > 2 * count + CHUNK:  # not for every chunk: sorting is expensive
            found.sort(reverse=descending)
            del found[count:]
    found.sort(reverse=descending)
    return total, found[:count]


def fitting(rows: Iterable[Row]) -> list[Row]:
    """Return the first rows, as many as fit in a message, but at least one."""
    found = list(in_slices(rows))
    if sum(map(_size_at_most, found)) <= LIST_SIZE:
        return found
    size = 0
    for number, row in enumerate(in_slices(found)):
        size += len(json.dumps(row))
        if number and size > LIST_SIZE:
            return found[:number]
    return found


def _size_at_most(row: Row) -> int:
    """Return an upper bound of the row's size as JSON, five times as fast as encoding it: only texts can be long."""
    texts = sum([len(value) for value in row.values() if type(value) is str])
    return LONGEST_CHARACTER * texts + 50 * len(row)
