from __future__ import annotations

import time
from collections.abc import Iterator

import gevent
import pytest
from gevent.event import Event as Flag

import hubble
from hubble.events import Event, Events, Feed, remove_event_logger
from tests.support.samples import EVENTS
from tests.support.tunnels import Remembering, eventually

EVENT = EVENTS[0]


class Raising:
    def __init__(self) -> None:
        self.called = 0

    def log(self, event: Event) -> None:
        self.called += 1
        raise RuntimeError("broken")


class Blocking:
    def __init__(self) -> None:
        self.go = Flag()
        self.called = 0

    def log(self, event: Event) -> None:
        self.called += 1
        self.go.wait()


@pytest.fixture
def events() -> Iterator[Events]:
    events = Events()
    yield events
    events.close(0)


def test_events_arrive_in_order(events: Events) -> None:
    logger = Remembering()
    events.install(logger)
    for event in EVENTS:
        events.log(event)
    eventually(lambda: logger.events == EVENTS, "all events, in order")


def test_one_that_raises_is_logged_once_and_told_of_the_next(events: Events, caplog: pytest.LogCaptureFixture) -> None:
    raising, good = Raising(), Remembering()
    feed = events.install(raising)
    events.install(good)
    for _ in range(5):
        events.log(EVENT)
    eventually(lambda: raising.called == 5 and len(good.events) == 5, "all are told of all")
    assert feed.failures == 5
    assert len([record for record in caplog.records if "Raising failed: RuntimeError: broken" in record.message]) == 1


def test_one_that_blocks_harms_nobody_and_its_drops_are_counted(events: Events) -> None:
    blocking, good = Blocking(), Remembering()
    feed = Feed(blocking, size=10)
    events._feeds.append(feed)  # a short queue
    events.install(good)
    events.log(EVENT)
    eventually(lambda: blocking.called == 1, "it is told")
    for _ in range(15):
        events.log(EVENT)
    assert (feed.waiting, feed.dropped) == (10, 5)
    eventually(lambda: len(good.events) == 16, "the other is told of all")
    blocking.go.set()
    eventually(lambda: blocking.called == 11, "what waited is told")


def test_a_slow_one_lets_others_run_between_two_events(events: Events) -> None:
    class Computing:
        def log(self, event: Event) -> None:
            end = time.perf_counter() + 0.005
            while time.perf_counter() < end:
                pass

    events.install(Computing())
    for _ in range(40):
        events.log(EVENT)
    gevent.sleep(0)
    before = time.perf_counter()
    gevent.sleep(0.001)
    assert time.perf_counter() - before < 0.1


def test_closing_logs_what_waits_and_counts_what_is_left() -> None:
    events, logger, blocking = Events(), Remembering(), Blocking()
    feed, stuck = events.install(logger), events.install(blocking)
    for _ in range(2000):
        events.log(EVENT)
    events.close(0.5)
    assert len(logger.events) == 2000 and feed.dropped == 0
    assert stuck.dropped >= 1000  # it had taken a batch


def test_a_logger_installed_for_the_process_is_told_by_every_proxy(events: Events) -> None:
    logger = Remembering()
    hubble.install_event_logger(logger)
    hubble.install_event_logger(logger)
    try:
        events.log(EVENT)
        eventually(lambda: logger.events == [EVENT], "it is told once")
    finally:
        remove_event_logger(logger)


def test_what_has_no_log_cannot_be_installed() -> None:
    with pytest.raises(TypeError, match="no method log"):
        hubble.install_event_logger(object())  # type: ignore[arg-type]
