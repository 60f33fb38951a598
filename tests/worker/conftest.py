"""Fixtures of the command lines' tests."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """The programs take over logging; pytest gets it back."""
    root, hubble = logging.getLogger(), logging.getLogger("hubble")
    handlers, levels = root.handlers[:], (root.level, hubble.level)
    root.handlers[:] = []
    yield
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    hubble.setLevel(levels[1])
