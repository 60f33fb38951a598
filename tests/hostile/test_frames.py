"""Small frames, records and requests do not hold up a worker: from strangers and agents, in the clear and over TLS."""

from __future__ import annotations

import pytest

from tests.hostile.arena import Arena, Setup
from tests.hostile.drivers import frames

LINKS = 16


def test_small_frames_of_strangers(arena: Arena) -> None:
    counts = arena.withstand(frames.flood, links=LINKS)
    assert counts["closed with 1008"] and counts["closed with 1003"]


def test_small_frames_of_agents(arena: Arena) -> None:
    counts = arena.withstand(frames.flood, links=LINKS, names=True)
    assert counts["closed with 1008"] and counts["closed with 1003"]


def test_requests_without_a_pause(arena: Arena) -> None:
    arena.withstand(frames.requests)


@pytest.mark.parametrize("arena", [Setup(tls=True)], indirect=True)
def test_small_frames_over_tls(arena: Arena) -> None:
    arena.withstand(frames.flood, links=LINKS, tls=True)


@pytest.mark.parametrize("arena", [Setup(tls=True)], indirect=True)
def test_small_records_of_tls(arena: Arena) -> None:
    arena.withstand(frames.tiny_records)
