"""What happens at a proxy with real agents, as an event logger is told of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gevent import socket

from hubble.agent.connection import reset
from hubble.events import (
    AuthorizationDenied,
    CloseSession,
    GatewayRegistration,
    GatewayUnregistration,
    OpenSession,
    ProxyStarted,
    ProxyStopping,
    RegistrationRefused,
    ScriptError,
    SessionResumed,
    SessionSuspended,
)
from hubble.policy import FunctionPolicy, guarded, key_digest
from hubble.proxy.sessions import registry
from hubble.transport.dial.dial import parse_url
from tests.support.tunnels import Tunnel, eventually, exchange, finish


def test_a_session_from_its_opening_to_its_end() -> None:
    with Tunnel() as tunnel:
        sock = tunnel.open()
        opened = tunnel.logger.wait(OpenSession)
        assert opened.success and not opened.error
        assert (opened.source, opened.gateway, opened.host) == ("entry", "exit", "127.0.0.1")
        assert opened.port == tunnel.echo.server_port
        assert opened.source_ip == "127.0.0.1"
        assert opened.key == key_digest("s3cret")
        assert 0 < opened.seconds < 5
        exchange(sock, b"x" * 100_000)
        finish(sock)
        closed = tunnel.logger.wait(CloseSession)
        assert closed.session == opened.session
        assert (closed.reason, closed.detail, closed.resumptions) == ("closed", "", 0)
        assert (closed.bytes_to_exit, closed.bytes_to_entry) == (100_005, 100_005)
        assert 0 < closed.duration < 10
        assert closed.worker == tunnel.proxy.me.id
        assert "s3cret" not in repr(tunnel.logger.events)
        assert len(tunnel.logger.all(OpenSession)) == len(tunnel.logger.all(CloseSession)) == 1


def test_gateways_and_the_proxy_come_and_go() -> None:
    with Tunnel() as tunnel:
        tunnel.logger.wait(ProxyStarted)
        registered = tunnel.logger.wait(GatewayRegistration, 2)
        assert (registered.gateway, registered.address, registered.resumable) == ("entry", "127.0.0.1", True)
        tunnel.agents[1].stop()
        gone = tunnel.logger.wait(GatewayUnregistration)
        assert gone.gateway == "entry" and gone.duration > 0
        assert "stopped" in gone.reason
    kinds = [event.name for event in tunnel.logger.events]
    assert kinds[0] == "ProxyStarted"
    assert kinds[-2:] == ["ProxyStopping", "GatewayUnregistration"] or kinds[-1] == "ProxyStopping"
    assert tunnel.logger.all(ProxyStopping)


def test_a_lost_path_is_one_suspension_and_one_resumption_and_each_byte_counts_once() -> None:
    with Tunnel() as tunnel:
        sock = tunnel.open()
        exchange(sock, b"y" * 300_000)
        gateway = tunnel.proxy.gateways.get("entry")
        assert gateway is not None
        gateway.link.abort("cut by the test")
        suspended = tunnel.logger.wait(SessionSuspended)
        assert suspended.reason == "cut by the test"
        resumed = tunnel.logger.wait(SessionResumed)
        assert resumed.resumptions == 1 and resumed.session == suspended.session
        assert 0 < resumed.seconds < 5
        exchange(sock, b"z" * 10_000)
        finish(sock)
        closed = tunnel.logger.wait(CloseSession)
        assert (closed.reason, closed.resumptions) == ("closed", 1)
        assert (closed.bytes_to_exit, closed.bytes_to_entry) == (310_005, 310_005)
        assert len(tunnel.logger.all(OpenSession)) == 1


def test_a_reconnecting_agent_is_reported_in_order() -> None:
    with Tunnel() as tunnel:
        gateway = tunnel.proxy.gateways.get("entry")
        assert gateway is not None
        tunnel.agents[1]._keeper.go_away(10)
        tunnel.logger.wait(GatewayRegistration, 3)
        names = [
            (event.name, event.gateway)
            for event in tunnel.logger.events
            if isinstance(event, GatewayRegistration | GatewayUnregistration)
        ]
        assert names[2:] == [("GatewayUnregistration", "entry"), ("GatewayRegistration", "entry")]


def test_a_session_that_is_not_resumed_is_closed_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "SUSPENDED_TIMEOUT", 0.0)
    with Tunnel() as tunnel:
        sock = tunnel.open()
        tunnel.agents[0].stop()
        reset = tunnel.logger.wait(CloseSession)
        assert reset.reason == "agent_stopped"
        sock.close()
        tunnel.agent("exit")
        sock = tunnel.open()
        for agent in tunnel.agents[1:]:
            gateway = tunnel.proxy.gateways.get(agent.name)
            agent._keeper.stop()
            assert gateway is not None
            gateway.link.abort("cut by the test")
        tunnel.logger.wait(SessionSuspended)
        tunnel.proxy.sessions.expire()
        closed = tunnel.logger.wait(CloseSession, 2)
        assert (closed.reason, closed.detail) == ("not_resumed", "not resumed in time")
        assert (closed.bytes_to_exit, closed.bytes_to_entry) == (5, 5)
        assert not list(tunnel.proxy.sessions)
        sock.close()


def test_a_reset_says_why() -> None:
    with Tunnel() as tunnel:
        sock = tunnel.open()
        reset(sock)
        closed = tunnel.logger.wait(CloseSession)
        assert closed.reason == "local_reset" and "reset" in closed.detail.lower()


def test_a_session_that_is_not_opened_reports_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hubble.agent.links.SETTLING", 0.0)  # else the first of these asks again
    with Tunnel() as tunnel:
        agent = tunnel.agent("other", "0:nowhere:127.0.0.1:9", registered=True)
        tunnel.port = tunnel.rule(agent)
        tunnel.connect().close()
        refused = tunnel.logger.wait(OpenSession)
        assert not refused.success and refused.error == "Gateway not registered"
        agent = tunnel.agent("third", f"0:exit:127.0.0.1:{_closed_port()}")
        tunnel.port = tunnel.rule(agent)
        tunnel.connect().close()
        refused = tunnel.logger.wait(OpenSession, 2)
        assert not refused.success and "refused" in refused.error
        assert not tunnel.logger.all(CloseSession)


def test_a_session_that_asks_again_and_again_has_one_account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hubble.agent.entry.RETRY_MOST", 0.1)
    with Tunnel() as tunnel:
        sessions, asked = tunnel.proxy.sessions, []
        refuse = sessions.refused
        monkeypatch.setattr(sessions, "refused", lambda *facts: [asked.append(facts), refuse(*facts)])  # type: ignore[func-returns-value]
        tunnel.port = tunnel.rule(tunnel.agent("other", f"0:late:127.0.0.1:{tunnel.echo.server_port}"))
        sock = tunnel.connect()
        refused = tunnel.logger.wait(OpenSession)
        eventually(lambda: len(asked) >= 3, "it has asked again and again")
        tunnel.agent("late")
        exchange(sock, b"hello")
        (_, opened) = tunnel.logger.all(OpenSession)
        assert (refused.success, opened.success) == (False, True)
        assert refused.session == opened.session


def test_denials_and_failures_of_the_policy() -> None:
    answers: Iterator[Any] = iter([False, ZeroDivisionError("the key s3cret is odd")])

    def decide(request: object) -> bool:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    with Tunnel(guarded(FunctionPolicy(decide))) as tunnel:
        tunnel.connect().close()
        denied = tunnel.logger.wait(AuthorizationDenied)
        assert (denied.source, denied.gateway, denied.reason) == ("entry", "exit", "Unauthorized")
        assert not tunnel.logger.all(ScriptError)
        tunnel.connect().close()
        failed = tunnel.logger.wait(ScriptError)
        assert failed.session == tunnel.logger.wait(AuthorizationDenied, 2).session
        assert "ZeroDivisionError" in failed.detail
        assert tunnel.logger.wait(OpenSession, 2).error == "Authorization error."
        assert "s3cret" not in repr(tunnel.logger.events)


def test_a_refused_registration() -> None:
    def register(request: object) -> bool:
        return request.name != "unwanted"  # type: ignore[attr-defined]

    with Tunnel(guarded(FunctionPolicy(lambda request: True, register))) as tunnel:
        tunnel.agent("unwanted", registered=False)
        refused = tunnel.logger.wait(RegistrationRefused)
        assert (refused.gateway, refused.address, refused.code) == ("unwanted", "127.0.0.1", "unauthorized")
        tunnel.agent("entry", registered=False)
        eventually(lambda: tunnel.logger.all(RegistrationRefused)[-1].code == "name_taken", "a refusal of the name")


def test_a_session_resumed_at_another_worker_keeps_its_account(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with Tunnel(runtime_dir=tmp_path) as tunnel, Tunnel(runtime_dir=tmp_path, with_agents=False) as other:
        sock = tunnel.open()
        exchange(sock, b"y" * 50_000)
        entry, gateway = tunnel.agents[1], tunnel.proxy.gateways.get("entry")
        assert gateway is not None
        entry._keeper.targets = [parse_url(other.url)]
        gateway.link.abort("cut by the test")
        resumed = other.logger.wait(SessionResumed)
        assert resumed.resumptions == 1
        assert resumed.worker == other.proxy.me.id
        exchange(sock, b"z" * 1_000)
        finish(sock)
        closed = other.logger.wait(CloseSession)
        assert (closed.bytes_to_exit, closed.bytes_to_entry) == (51_005, 51_005)
        opened = tunnel.logger.wait(OpenSession)
        assert closed.session == opened.session
        assert closed.duration == pytest.approx(closed.time - opened.time, abs=0.5)
        assert not tunnel.logger.all(CloseSession)
        assert not list(tunnel.proxy.sessions)


def test_few_of_the_suspended_sessions_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "MAX_SUSPENDED", 2)
    with Tunnel() as tunnel:
        socks = [tunnel.open() for _ in range(3)]
        tunnel.agents[1]._keeper.stop()
        gateway = tunnel.proxy.gateways.get("entry")
        assert gateway is not None
        gateway.link.abort("cut by the test")
        tunnel.logger.wait(SessionSuspended, 3)
        assert tunnel.logger.wait(CloseSession).reason == "not_resumed"
        assert tunnel.proxy.sessions.suspended == 2
        for sock in socks:
            sock.close()


def _closed_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
