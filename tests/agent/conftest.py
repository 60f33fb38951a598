"""Fixtures of the agent's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hubble.transport import link
from tests.support.fakeproxy import FakeProxy


@pytest.fixture
def fake() -> Iterator[FakeProxy]:
    """A proxy that does what the test tells it to."""
    fake = FakeProxy()
    yield fake
    fake.close()


@pytest.fixture
def quick_farewells(monkeypatch: pytest.MonkeyPatch) -> None:
    """A link that says good-bye and is not answered ends soon."""
    monkeypatch.setattr(link, "CLOSE_TIMEOUT", 0.1)
