"""What ends abnormally is a reset for the application on the other side, never an end of stream."""

from __future__ import annotations

import time

import gevent
import pytest

from tests.support.relay import reset
from tests.support.services import Service, echo
from tests.support.sockets import assert_echo, assert_reset, connect, echoed
from tests.support.stage import Stage

RESUME_TIMEOUT = 3.0
OPTIONS = ["--resume-timeout", str(RESUME_TIMEOUT)]


def test_a_killed_exit_agents_successor_resets_its_sessions_at_once(stage: Stage) -> None:
    service = stage.add(Service(echo))
    tunnel = stage.tunnel(service.port)
    with connect(tunnel.port()) as sock:
        assert echoed(sock, b"x") == b"x"
        tunnel.exit.kill()
        started = time.monotonic()
        stage.agent(tunnel.proxy.url, "exit", log_name="successor")
        assert_reset(sock, within=5)
        assert time.monotonic() - started < 10
    assert_echo(tunnel.port())


def test_a_killed_exit_agent_resets_its_sessions_when_it_stays_away(stage: Stage) -> None:
    service = stage.add(Service(echo))
    tunnel = stage.tunnel(service.port, entry_options=OPTIONS, exit_options=OPTIONS)
    with connect(tunnel.port()) as sock:
        assert echoed(sock, b"x") == b"x"
        tunnel.exit.kill()
        started = time.monotonic()
        assert_reset(sock, within=RESUME_TIMEOUT + 5)
        assert time.monotonic() - started > RESUME_TIMEOUT - 0.5


def test_a_killed_entry_agent_resets_its_sessions_at_the_service(stage: Stage) -> None:
    service = stage.add(Service(echo))
    tunnel = stage.tunnel(service.port, entry_options=OPTIONS, exit_options=OPTIONS)
    with connect(tunnel.port()) as sock:
        assert echoed(sock, b"x") == b"x"
        tunnel.entry.kill()
        assert isinstance(service.wait_failure(within=RESUME_TIMEOUT + 5), ConnectionResetError)


@pytest.mark.parametrize("side", ["entry", "exit"])
def test_an_agent_that_ends_in_order_resets_its_sessions(stage: Stage, side: str) -> None:
    """Its end is in order, but not that of the sessions: they were in mid-stream."""
    service = stage.add(Service(echo))
    tunnel = stage.tunnel(service.port)
    with connect(tunnel.port()) as sock:
        assert echoed(sock, b"x") == b"x"
        agent = tunnel.entry if side == "entry" else tunnel.exit
        assert agent.stop() == 0
        assert_reset(sock, within=5)
        assert isinstance(service.wait_failure(within=5), ConnectionResetError)


def test_a_proxy_that_stays_away_resets_both_sides(stage: Stage) -> None:
    service = stage.add(Service(echo))
    tunnel = stage.tunnel(service.port, entry_options=OPTIONS, exit_options=OPTIONS)
    with connect(tunnel.port()) as sock:
        assert echoed(sock, b"x") == b"x"
        tunnel.proxy.kill()
        assert_reset(sock, within=RESUME_TIMEOUT + 5)
        assert isinstance(service.wait_failure(within=RESUME_TIMEOUT + 5), ConnectionResetError)


def test_a_reset_during_an_outage_arrives_after_it(stage: Stage) -> None:
    service = stage.add(Service(echo))
    tunnel = stage.tunnel(service.port)
    sock = connect(tunnel.port())
    assert echoed(sock, b"x") == b"x"  # both ends know that the session is open
    tunnel.proxy.kill()
    reset(sock)
    tunnel.proxy.start()
    assert isinstance(service.wait_failure(within=20), ConnectionResetError)


def test_agents_report_why_a_session_was_given_up(stage: Stage) -> None:
    service = stage.add(Service(echo))
    tunnel = stage.tunnel(service.port, entry_options=OPTIONS, exit_options=OPTIONS)
    with connect(tunnel.port()) as sock:
        assert echoed(sock, b"x") == b"x"
        marks = tunnel.marks()
        tunnel.proxy.kill()
        assert_reset(sock, within=RESUME_TIMEOUT + 5)
    waiting = [
        gevent.spawn(agent.log.wait_for, "(?i)session.*(given up|not resumed|reset)", after=mark, within=10.0)
        for agent, mark in zip((tunnel.entry, tunnel.exit), marks, strict=True)
    ]
    gevent.joinall(waiting, raise_error=True)
