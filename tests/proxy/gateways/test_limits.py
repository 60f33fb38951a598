"""The limits on everybody."""

from __future__ import annotations

import pytest

from hubble.proxy.gateways import limits as limits_module
from hubble.proxy.gateways.limits import LEAST, AbuseLimits, Meter


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_meter_allows_a_burst_and_then_its_rate() -> None:
    clock = Clock()
    meter = Meter(rate=2, burst=3, clock=clock)
    assert [meter.allows("a") for _ in range(4)] == [True, True, True, False]
    clock.now += 0.5
    assert [meter.allows("a") for _ in range(2)] == [True, False]
    clock.now += 100
    assert [meter.allows("a") for _ in range(4)] == [True, True, True, False]


def test_a_meter_counts_each_key_for_itself() -> None:
    meter = Meter(rate=1, burst=1, clock=Clock())
    assert meter.allows("a")
    assert not meter.allows("a")
    assert meter.allows("b")


def test_the_keys_of_a_meter_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits_module, "REMEMBERED", 2)
    meter = Meter(rate=1, burst=1, clock=Clock())
    assert [meter.allows(key) for key in "aba"] == [True, True, False]
    assert [meter.allows(key) for key in "cab"] == [True, False, True]


def test_workers_share_what_is_counted_across_them() -> None:
    limits = AbuseLimits(sessions=10, sessions_per_second=20, registrations_per_minute=120, strangers=400)
    assert limits.share(4) == AbuseLimits(10, 20, 30, 100)
    assert limits.share(64) == AbuseLimits(10, 20, LEAST, LEAST)
    few = AbuseLimits(registrations_per_minute=7, strangers=3)
    assert few.share(64) == few
