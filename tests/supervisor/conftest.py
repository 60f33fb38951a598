"""Fixtures of the supervisor's tests. It runs in processes of its own: everything here is monkey-patched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.proxies import Proxies


@pytest.fixture
def proxies(tmp_path: Path) -> Iterator[Proxies]:
    """Starts proxies; at the end they are killed, and none may have raised."""
    proxies = Proxies(tmp_path)
    try:
        yield proxies
    finally:
        proxies.end()
