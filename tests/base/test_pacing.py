"""Greenlets that are started one after the other."""

from __future__ import annotations

import itertools
import time

import gevent

from hubble.base.pacing import PacedSpawner
from tests.support.waiting import poll

WORK = 0.001
"""Seconds that each function computes: more than a slice."""
COUNT = 100
PATIENCE = 10.0


def compute(started: list[int], number: int) -> None:
    started.append(number)
    until = time.perf_counter() + WORK
    while time.perf_counter() < until:
        pass


def test_others_have_their_turn_between_two() -> None:
    spawner, started = PacedSpawner(), list[int]()
    turns = list[int]()
    for number in range(COUNT):
        spawner.spawn("key", compute, started, number)
    while len(started) < COUNT:
        gevent.idle(priority=1)
        turns.append(len(started))
    assert max(after - before for before, after in itertools.pairwise(turns)) <= 3
    assert started == list(range(COUNT))


def test_keys_take_turns() -> None:
    spawner, started = PacedSpawner(), list[str]()
    for key in ["greedy"] * COUNT + ["modest"]:
        spawner.spawn(key, started.append, key)
    poll(lambda: len(started) == COUNT + 1, PATIENCE, "all have run")
    assert started.index("modest") <= 3


def test_one_that_fails_or_waits_holds_up_none() -> None:
    spawner, started = PacedSpawner(), list[int]()

    def fail_or_wait(number: int) -> None:
        started.append(number)
        if number == 1:
            raise RuntimeError("by the test")
        gevent.sleep(PATIENCE)

    for number in range(4):
        spawner.spawn("key", fail_or_wait, number)
    poll(lambda: len(started) == 4, PATIENCE, "all have started")
    spawner.kill()


def test_what_waits_is_forgotten_when_it_is_killed() -> None:
    spawner, started = PacedSpawner(), list[int]()
    for number in range(COUNT):
        spawner.spawn("key", started.append, number)
    spawner.kill()
    gevent.sleep(0.05)
    assert len(started) < COUNT
    spawner.spawn("key", started.append, COUNT)
    poll(lambda: COUNT in started, PATIENCE, "it goes on")
