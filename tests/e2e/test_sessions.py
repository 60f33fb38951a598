"""Sessions through a proxy and two agents: that they carry, who may open one, and what becomes of failures."""

from __future__ import annotations

import signal
import socket
import time

import gevent
import pytest

from tests.support.relay import reset
from tests.support.scale import MB
from tests.support.services import Exchange, Service, echo
from tests.support.sockets import assert_echo, assert_reset, connect, echoed
from tests.support.stage import Stage
from tests.support.traffic import exchange
from tests.support.waiting import poll


def test_two_hundred_sessions_at_once_carry_both_ways(stage: Stage) -> None:
    service = stage.add(Exchange())
    tunnel = stage.tunnel(service.port)
    sessions = [gevent.spawn(exchange, tunnel.port(), seed, 1 * MB) for seed in range(200)]
    gevent.joinall(sessions, raise_error=True)
    service.changes.wait_until(lambda: service.completed == 200, 5, "the service has completed them all")
    assert not service.failures


def test_a_session_ends_on_both_sides_when_either_side_ends_it(stage: Stage) -> None:
    service = stage.add(Service(echo))
    tunnel = stage.tunnel(service.port)
    files = [process.open_files() for process in tunnel.processes]
    for _ in range(20):
        with connect(tunnel.port()) as sock:
            assert echoed(sock, b"x") == b"x"
            sock.shutdown(socket.SHUT_WR)
            assert sock.recv(1) == b""
    poll(
        lambda: [process.open_files() for process in tunnel.processes] == files,
        within=10,
        what="the sockets of ended sessions are closed",
    )


def test_a_clients_reset_reaches_the_service(stage: Stage) -> None:
    service = stage.add(Service(echo))
    tunnel = stage.tunnel(service.port)
    sock = connect(tunnel.port())
    assert echoed(sock, b"x") == b"x"
    reset(sock)
    assert isinstance(service.wait_failure(within=5), ConnectionResetError)


def test_a_services_reset_reaches_the_client(stage: Stage) -> None:
    def abrupt(sock: socket.socket) -> None:
        sock.recv(1)  # the rest is left unread, so closing resets

    service = stage.add(Service(abrupt))
    tunnel = stage.tunnel(service.port)
    with connect(tunnel.port()) as sock:
        sock.sendall(b"abc")
        assert_reset(sock, within=5)


def test_a_refused_destination_is_a_reset(stage: Stage) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        nobody = server.getsockname()[1]
    tunnel = stage.tunnel(nobody)
    with connect(tunnel.port()) as sock:
        assert_reset(sock, within=5)


def test_an_unknown_gateway_is_a_reset(stage: Stage) -> None:
    proxy = stage.proxy()
    entry = stage.agent(proxy.url, "entry", "0:nobody:127.0.0.1:1")
    with connect(entry.port()) as sock:
        assert_reset(sock, within=5)
    entry.log.wait_for("nobody.*[Nn]ot registered|[Nn]ot registered.*nobody")


def test_a_denied_session_is_a_reset(stage: Stage) -> None:
    service = stage.add(Service(echo))
    tunnel = stage.tunnel(service.port, proxy_options=["-authdeny"])
    with connect(tunnel.port()) as sock:
        assert_reset(sock, within=5)
    assert service.accepted == 0
    tunnel.entry.log.wait_for("(?i)unauthorized|denied")


def test_an_agent_reaches_itself(stage: Stage) -> None:
    service = stage.add(Service(echo))
    agent = stage.agent(stage.proxy().url, "self", f"0:self:127.0.0.1:{service.port}")
    assert_echo(agent.port())


def test_two_agents_are_entries_and_exits_of_each_other(stage: Stage) -> None:
    service = stage.add(Service(echo))
    proxy = stage.proxy()
    one = stage.agent(proxy.url, "one", f"0:two:127.0.0.1:{service.port}")
    two = stage.agent(proxy.url, "two", f"0:one:127.0.0.1:{service.port}")
    assert_echo(one.port())
    assert_echo(two.port())


def test_a_host_name_is_resolved_at_the_exit(stage: Stage) -> None:
    service = stage.add(Service(echo))
    proxy = stage.proxy()
    stage.agent(proxy.url, "exit")
    entry = stage.agent(proxy.url, "entry", f"0:exit:localhost:{service.port}")
    assert_echo(entry.port())


def test_a_second_agent_of_the_same_name_is_refused(stage: Stage) -> None:
    service = stage.add(Service(echo))
    tunnel = stage.tunnel(service.port)
    second = stage.agent(tunnel.proxy.url, "exit", registered=False, log_name="second")
    second.log.wait_for("(?i)refused")
    assert not second.log.matches("registered as")
    assert_echo(tunnel.port())
    assert len(tunnel.exit.log.matches("registered as")) == 1


def test_the_name_is_free_again_when_its_agent_has_left(stage: Stage) -> None:
    service = stage.add(Service(echo))
    tunnel = stage.tunnel(service.port)
    tunnel.exit.stop()
    stage.agent(tunnel.proxy.url, "exit", log_name="second")
    assert_echo(tunnel.port())


def test_agents_are_back_soon_after_a_killed_proxy_is(stage: Stage) -> None:
    service = stage.add(Service(echo))
    tunnel = stage.tunnel(service.port)
    assert_echo(tunnel.port())
    for _ in range(3):
        marks = tunnel.marks()
        tunnel.proxy.restart()
        tunnel.wait_registered(after=marks, within=3)
        assert_echo(tunnel.port())


def test_an_agent_keeps_trying_until_there_is_a_proxy(stage: Stage) -> None:
    proxy = stage.proxy()
    proxy.kill()
    agent = stage.agent(proxy.url, "early", registered=False)
    agent.log.wait_for("(?i)refused|cannot|could not|failed", times=2)
    proxy.start()
    agent.wait_registered(within=5)


def test_a_connection_made_while_the_proxy_is_away_waits_for_it(stage: Stage) -> None:
    service = stage.add(Service(echo))
    tunnel = stage.tunnel(service.port)
    marks = tunnel.marks()
    tunnel.proxy.kill()
    tunnel.entry.log.wait_for("(?i)lost|closed|reconnect|again", after=marks[0])
    with connect(tunnel.port()) as sock:
        sock.sendall(b"patience")
        tunnel.proxy.start()
        assert sock.recv(100) == b"patience"


def test_a_connection_is_reset_when_the_proxy_stays_away(stage: Stage) -> None:
    service = stage.add(Service(echo))
    tunnel = stage.tunnel(service.port, entry_options=["--link-wait", "1"])
    mark = tunnel.entry.log.mark()
    tunnel.proxy.kill()
    tunnel.entry.log.wait_for("(?i)lost|closed|reconnect|again", after=mark)
    started = time.monotonic()
    with connect(tunnel.port()) as sock:
        assert_reset(sock, within=5)
    assert time.monotonic() - started > 0.9


def test_a_stopped_process_holds_only_its_own_sessions_up(stage: Stage) -> None:
    service = stage.add(Service(echo))
    proxy = stage.proxy()
    asleep, awake = stage.agent(proxy.url, "asleep"), stage.agent(proxy.url, "awake")
    rules = [f"0:{agent.name}:127.0.0.1:{service.port}" for agent in (asleep, awake)]
    entry = stage.agent(proxy.url, "entry", *rules)
    assert_echo(entry.port(0))
    asleep.send(signal.SIGSTOP)
    with connect(entry.port(0)) as waiting:
        waiting.sendall(b"patience")
        assert_echo(entry.port(1))
        asleep.send(signal.SIGCONT)
        assert waiting.recv(100) == b"patience"


@pytest.mark.parametrize("size", [0, 1, 1024, 65536, 1_000_003])
def test_streams_of_every_size_arrive_whole(stage: Stage, size: int) -> None:
    service = stage.add(Exchange())
    tunnel = stage.tunnel(service.port)
    exchange(tunnel.port(), 1, size)
    assert not service.failures
