"""Slices of computing, between which others run."""

from __future__ import annotations

import time
from collections.abc import Iterator

import gevent
import pytest
from gevent import socket
from gevent.socket import wait_read

from hubble.base import slices
from hubble.base.slices import in_chunks, in_slices


@pytest.fixture
def turns() -> Iterator[list[bytes]]:
    """Grows by one whenever the event loop has looked at its sockets."""
    seen: list[bytes] = []
    ours, theirs = socket.socketpair()

    def echo() -> None:
        while ours.send(b"x"):
            wait_read(theirs.fileno())
            seen.append(theirs.recv(1))

    greenlet = gevent.spawn(echo)
    gevent.sleep(0)
    yield seen
    greenlet.kill()
    ours.close()
    theirs.close()


def test_nothing_is_lost_or_doubled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "SLICE", 0.0)
    assert list(in_slices(range(100))) == list(range(100))
    assert [list(chunk) for chunk in in_chunks(range(7), 3)] == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(in_slices([])) == [] == list(in_chunks([]))


def test_sockets_and_timers_have_their_turn_whenever_a_slice_has_passed(turns: list[bytes]) -> None:
    timer = gevent.spawn_later(0.001, turns.extend, [b"timer"] * 1000)
    for _ in in_slices(range(20)):
        until = time.perf_counter() + slices.SLICE
        while time.perf_counter() < until:
            pass
    assert timer.ready()
    assert len(turns) >= 1010


def test_what_is_quick_is_not_interrupted(monkeypatch: pytest.MonkeyPatch, turns: list[bytes]) -> None:
    monkeypatch.setattr(slices, "SLICE", 60.0)
    assert sum(in_slices(range(1000))) == 499_500
    assert not turns
