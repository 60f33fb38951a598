"""The two directions of a session."""

from __future__ import annotations

from enum import IntEnum


class Direction(IntEnum):
    """Where a message travels. The value is its FROM_EXIT bit, and an index of pairs."""

    TO_EXIT = 0
    TO_ENTRY = 1


TO_EXIT, TO_ENTRY = Direction.TO_EXIT, Direction.TO_ENTRY
"""Looked up once: an attribute of an enumeration is slow."""
