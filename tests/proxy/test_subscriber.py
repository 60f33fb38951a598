"""A proxy that nobody watches does the same: it blocks, kicks, and lets sessions expire."""

from __future__ import annotations

from typing import Any

import pytest

from hubble.protocol.messages import Ack, Handshake, Refusal, Reset, ResetReason, Suspend
from hubble.proxy.proxy import Proxy
from hubble.proxy.sessions import registry
from hubble.proxy.subscriber import Subscriber
from tests.support.speakers import agent, initiator, introduced, opened, our_hello


@pytest.fixture
def proxy() -> Any:
    proxy = Proxy("127.0.0.1:0", subscriber=Subscriber())
    proxy.start()
    yield proxy
    proxy.stop()


def test_a_kicked_session_is_reset_and_cannot_resume(proxy: Proxy) -> None:
    entry, exit_agent = agent(proxy, "entry"), agent(proxy, "exit")
    session = opened(entry, exit_agent)
    assert proxy.kicks.session(session)
    assert entry.hear(Reset).reason is exit_agent.hear(Reset).reason is ResetReason.REVOKED
    entry.say(initiator(session, attempt=2))
    assert entry.hear(Ack).code is Refusal.UNAUTHORIZED
    assert not proxy.kicks.session(b"unknown" + bytes(9))


def test_a_blocked_gateway_loses_its_sessions_and_cannot_register(proxy: Proxy) -> None:
    entry, exit_agent = agent(proxy, "entry"), agent(proxy, "exit")
    opened(entry, exit_agent)
    assert proxy.kicks.block("exit", True)
    assert entry.hear(Reset).reason is ResetReason.REVOKED
    exit_agent.wait_end()
    _, refusal = introduced(proxy, our_hello("exit"))
    assert refusal.code is Refusal.UNAUTHORIZED
    assert not proxy.kicks.block("exit", False)
    _, ack = introduced(proxy, our_hello("exit"))
    assert ack.ok


def test_a_suspended_session_expires(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    entry, exit_agent = agent(proxy, "entry"), agent(proxy, "exit")
    opened(entry, exit_agent)
    entry.vanish()
    assert (proxy.sessions.open, proxy.sessions.suspended) == (0, 1)
    proxy.sessions.expire()
    assert proxy.sessions.suspended == 1
    monkeypatch.setattr(registry, "SUSPENDED_TIMEOUT", 0.0)
    proxy.sessions.expire()
    assert proxy.sessions.suspended == 0


class Broken(Subscriber):
    """Raises, whatever it is told."""

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("_"):
            return super().__getattribute__(name)

        def told(*what: object) -> None:
            raise RuntimeError(f"cannot take {name}")

        return told


def test_a_subscriber_that_raises_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    proxy = Proxy("127.0.0.1:0", subscriber=Broken())
    proxy.start()
    entry, exit_agent = agent(proxy, "entry"), agent(proxy, "exit")
    session = opened(entry, exit_agent)
    entry.vanish()
    exit_agent.hear(Suspend)
    assert proxy.sessions.suspended == 1
    entry = agent(proxy, "entry")
    opened(entry, exit_agent, session=session, attempt=2)
    assert proxy.kicks.session(session)
    assert exit_agent.hear(Reset).reason is ResetReason.REVOKED
    proxy.stop()
    assert {"started", "registered", "decided", "opened", "suspended", "resumed", "closed", "stopped"} <= {
        name for name in vars(Subscriber) if f"cannot take {name}" in caplog.text
    }


def test_a_version_that_is_unknown_is_refused(proxy: Proxy) -> None:
    _, refusal = introduced(proxy, Handshake("old", version="0.0.9"))
    assert refusal.code is Refusal.VERSION
