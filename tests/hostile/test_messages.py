"""Small messages of agents take their own time, and nobody else's."""

from __future__ import annotations

import pytest

from tests.hostile.arena import Arena
from tests.hostile.drivers import messages

SESSIONS = 50


def test_for_unknown_sessions(arena: Arena) -> None:
    counts = arena.withstand(messages.flood, kinds=["credit", "stream", "suspend", "done"])
    assert "closed" not in counts


@pytest.mark.parametrize("kind", ["credit", "stream"])
def test_for_open_sessions(arena: Arena, kind: str) -> None:
    counts = arena.withstand(messages.flood, kinds=[kind] * 4, sessions=SESSIONS, service=arena.echo.port)
    assert counts["sessions"] >= 4 * SESSIONS
