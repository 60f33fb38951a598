from __future__ import annotations

from typing import Any

import gevent

from hubble.agent.links import Links
from tests.support.talk import PATIENCE

FIRST: Any = object()
SECOND: Any = object()
"""Stand for links, which are only handed on."""


def waiting(links: Links, timeout: float = PATIENCE) -> gevent.Greenlet:
    greenlet = gevent.spawn(links.wait, timeout)
    gevent.idle()
    assert not greenlet.ready()
    return greenlet


def test_a_link_that_is_there_is_had_at_once() -> None:
    links = Links()
    links.set(FIRST, resumable=True)
    assert links.wait(0.001) is FIRST is links.link
    assert links.resumable


def test_a_link_is_waited_for() -> None:
    links = Links()
    waiters = [waiting(links) for _ in range(3)]
    links.set(FIRST, resumable=False)
    assert [waiter.get(timeout=PATIENCE) for waiter in waiters] == [FIRST] * 3


def test_only_so_long() -> None:
    links = Links()
    links.set(FIRST, resumable=True)
    links.clear()
    assert links.wait(0.01) is None


def test_one_that_is_lost_again_at_once_is_none() -> None:
    links = Links()
    waiter = waiting(links)
    links.set(FIRST, resumable=True)
    links.clear()
    gevent.idle()
    assert not waiter.ready()
    links.set(SECOND, resumable=True)
    assert waiter.get(timeout=PATIENCE) is SECOND
