"""Agents under attack: their local clients, and the entries whose sessions they serve."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest
from gevent import socket

from tests.hostile.arena import Arena, Bounds, Setup
from tests.hostile.drivers import agents
from tests.support.sockets import assert_echo

MAX_DIALS = 20


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a service that answers no connection, because its queue is full."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [gevent.spawn(socket.create_connection, full.getsockname()) for _ in range(4)]
        gevent.sleep(0.1)
        yield full.getsockname()[1]
        gevent.killall(waiting)


def test_connections_that_are_dead_on_arrival(arena: Arena) -> None:
    counts = arena.withstand(agents.dead_on_arrival, entry=arena.tunnel.port(1))
    assert counts["connections"] > 1000
    assert arena.tunnel.entry.log.text.count("session") < counts["connections"] / 20


def test_connections_that_are_closed_after_a_moment(arena: Arena) -> None:
    # The programs open sessions all the time, and share two processors with the attacker.
    counts = arena.withstand(agents.live, bounds=Bounds(noise=0.15), entry=arena.tunnel.port(1), kept=300)
    assert counts["connections"] > 1000


@pytest.mark.parametrize("arena", [Setup(exit=("--max-dials", str(MAX_DIALS), "--dial-timeout", "2"))], indirect=True)
def test_an_entry_that_has_everything_dialed(arena: Arena, silent: int) -> None:
    exit_agent = arena.tunnel.exit
    before = len(os.listdir(Path(f"/proc/{exit_agent.pid}/fd")))
    counts = arena.withstand(agents.dials, host="127.0.0.1", destination=silent, rate=100)
    assert counts["asked"] > 100
    assert len(os.listdir(Path(f"/proc/{exit_agent.pid}/fd"))) <= before + MAX_DIALS + 5
    assert_echo(arena.tunnel.port(1), 5)  # another entry's session does not wait behind those
