"""How much the long tests carry: all of it where every program is required (.ci/run) or asked for, less on a laptop."""

from __future__ import annotations

import os
from typing import TypeVar

T = TypeVar("T")

FULL = bool(os.environ.get("HUBBLE_REQUIRE_PROGRAMS") or os.environ.get("HUBBLE_FULL"))

MB = 1_000_000
KIB = 1024


def scaled(full: T, short: T) -> T:
    """`full` in a full run, `short` in one on a laptop."""
    return full if FULL else short
