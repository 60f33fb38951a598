"""What costs much to decode, and what should not be in a text."""

from __future__ import annotations

import pytest

from tests.hostile.arena import Arena
from tests.hostile.drivers import bodies


@pytest.mark.parametrize("large", [True, False])
def test_handshakes_that_are_expensive_to_decode(arena: Arena, large: bool) -> None:
    counts = arena.withstand(bodies.handshakes, large=large)
    assert counts["sent"] > 10


def test_keys_with_control_characters(arena: Arena) -> None:
    counts = arena.withstand(bodies.initiators)
    assert counts["links"] >= 1 and counts["refused"] >= 1


def test_hosts_that_are_no_names(arena: Arena) -> None:
    counts = arena.withstand(bodies.hosts, gateway="exit")
    assert counts["refused"] == counts["asked"] > 10
    log = "\n".join(line for process in arena.tunnel.processes for line in process.log.lines)
    assert "the host name has 4096 characters" in log and "Traceback" not in log
