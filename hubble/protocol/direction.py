"""The two directions of a session."""

from __future__ import annotations

from enum import IntEnum


class Direction(IntEnum):
    """The direction in which a message travels. The value is its FROM_EXIT bit and an index of pairs."""

    TO_EXIT = 0
    TO_ENTRY = 1


TO_EXIT, TO_ENTRY = Direction.TO_EXIT, Direction.TO_ENTRY
"""Constants, because an attribute lookup on an enumeration is slow."""
