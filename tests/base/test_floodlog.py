"""Log lines at a bounded rate."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from hubble.base import floodlog
from hubble.base.floodlog import BURST, PER_KIND, FloodLog
from hubble.base.networks import network_of

logger = logging.getLogger("hubble.test.flood")


class Later:
    """Keeps what is to be done later."""

    def __init__(self) -> None:
        self.work: list[Callable[[], None]] = []

    def __call__(self, seconds: float, work: Callable[[], None]) -> None:
        self.work.append(work)


@pytest.fixture
def later() -> Later:
    return Later()


@pytest.fixture
def flood(later: Later, caplog: pytest.LogCaptureFixture) -> FloodLog:
    caplog.set_level(logging.INFO, logger.name)
    return FloodLog(logger, later=later)


def test_a_flood_is_a_few_lines_and_a_sum(flood: FloodLog, later: Later, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(5312 + BURST):
        flood.log(logging.INFO, "bad requests", "203.0.113.9", "request %d", number)
    later.work[0]()
    assert caplog.messages == [
        "request 0",
        "request 1",
        "request 2",
        "bad requests: and 5,312 more from 203.0.113.0/24",
    ]


def test_kinds_and_networks_are_apart(flood: FloodLog, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(10):
        flood.log(logging.INFO, "one", "203.0.113.9", "a")
        flood.log(logging.INFO, "other", "203.0.113.9", "b")
        flood.log(logging.INFO, "one", "198.51.100.1", "c")
        flood.log(logging.INFO, "one", "198.51.100.77", "same network")
    assert sorted(caplog.messages) == ["a"] * 3 + ["b"] * 3 + ["c"] * 2 + ["same network"]


def test_many_networks_are_bounded(flood: FloodLog, later: Later, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(10_000):
        flood.log(logging.INFO, "kind", f"10.{number // 256}.{number % 256}.1", "line")
    assert len(caplog.messages) == PER_KIND
    assert len(flood._entries) == PER_KIND + 1
    later.work[0]()
    assert caplog.messages[-1] == f"kind: and {10_000 - PER_KIND:,} more"


def test_after_the_interval_lines_are_written_again(
    flood: FloodLog, later: Later, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("hubble.base.floodlog.time.monotonic", lambda: now)
    for _ in range(5):
        flood.log(logging.INFO, "kind", "::1", "line")
    now += floodlog.INTERVAL
    flood.log(logging.INFO, "kind", "::1", "line")
    assert caplog.messages == ["line"] * 3 + ["kind: and 2 more from ::/64", "line"]
    assert len(later.work) == 2


def test_what_is_not_logged_is_not_counted(flood: FloodLog, later: Later) -> None:
    flood.log(logging.DEBUG, "kind", "::1", "line")
    assert not flood._entries and not later.work


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.9", "203.0.113.0/24"),
        ("::ffff:203.0.113.9", "203.0.113.0/24"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("a local client", "a local client"),
        ("", ""),
        ("x" * 1000, "x" * 64),
    ],
)
def test_networks(address: str, network: str) -> None:
    assert network_of(address) == network
