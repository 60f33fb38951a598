"""Which networks are blamed, and for how long."""

from __future__ import annotations

import time

import pytest

from hubble.base import fairturns
from hubble.base.fairturns import FORGIVEN, FairTurns


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


def test_the_parties_that_are_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fairturns, "REMEMBERED", 2)
    turns = FairTurns(1, 10, 10)
    for party in ("a", "b", "a", "c"):
        turns.blame(party)
    assert [turns._blamed(party) for party in ("a", "b", "c")] == [2, 0, 1]


def test_blame_is_forgiven(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    turns = FairTurns(1, 10, 10)
    turns.blame("a")
    clock.now += FORGIVEN - 1
    assert turns._blamed("a") == 1
    clock.now += 1
    assert turns._blamed("a") == 0
