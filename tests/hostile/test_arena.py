"""The arena tells harm from harmlessness."""

from __future__ import annotations

import pytest

from tests.hostile.arena import Arena, Bounds
from tests.hostile.drivers import harmless


def test_a_harmless_client_is_withstood(arena: Arena) -> None:
    assert arena.withstand(harmless.idle, seconds=1.0) == {"links": 1, "survived": 1}


def test_a_standstill_is_noticed(arena: Arena) -> None:
    outcome = arena.attack(harmless.standstill, 0.4, Bounds(longest=0.02), {"pids": arena.tunnel.proxy.children()})
    assert "stood still for " in str(outcome.complaints), outcome
    assert outcome.during.longest == pytest.approx(0.4, abs=0.2)


def test_memory_that_grows_is_noticed(arena: Arena) -> None:
    outcome = arena.attack(harmless.idle, 0.3, Bounds(growth=-1), {})
    assert "the memory of " in str(outcome.complaints), outcome
