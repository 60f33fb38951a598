"""Registered agents that ask for or send more than they may, and read nothing: what they cost is bounded."""

from __future__ import annotations

from tests.hostile.arena import Arena
from tests.hostile.drivers import sessions


def test_initiators_beyond_the_rate(arena: Arena) -> None:
    arena.withstand(sessions.initiators, gateway="exit")


def test_initiators_for_nobody(arena: Arena) -> None:
    arena.withstand(sessions.initiators, gateway="nobody")


def test_long_initiators_that_are_not_answered(arena: Arena) -> None:
    arena.withstand(sessions.unanswered, size=3900)


def test_streams_beyond_the_credit(arena: Arena) -> None:
    arena.withstand(sessions.beyond_the_credit)


def test_suspends_that_are_not_read(arena: Arena) -> None:
    arena.withstand(sessions.unknown_sessions)
