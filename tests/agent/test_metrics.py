"""An agent's /metrics."""

from __future__ import annotations

import contextlib

import requests

from hubble.agent.agent import Agent
from hubble.events import CloseSession, SessionResumed
from hubble.transport.listen import open_listener
from tests.support.tunnels import Tunnel, eventually, exchange, finish


def test_what_an_agent_counts() -> None:
    with Tunnel() as tunnel:
        exit_agent, entry = tunnel.agents
        entry_url, exit_url = serve(entry), serve(exit_agent)
        sock = tunnel.open()
        exchange(sock, b"x" * 1000)
        samples = ask(entry_url)
        assert samples["hubble_agent_linked"] == 1
        assert samples['hubble_agent_sessions{role="entry",state="open"}'] == 1
        assert samples['hubble_agent_sessions{role="exit",state="open"}'] == 0
        assert samples['hubble_agent_read_bytes_total{role="entry"}'] == 1005
        assert samples['hubble_agent_written_bytes_total{role="entry"}'] == 1005
        assert samples["hubble_agent_registrations_total"] == 1
        gateway = tunnel.proxy.gateways.get("entry")
        assert gateway is not None
        gateway.link.abort("cut by the test")
        tunnel.logger.wait(SessionResumed)
        finish(sock)
        tunnel.logger.wait(CloseSession)
        eventually(lambda: not entry._connections(), "the session is over at the entry")
        samples = ask(entry_url)
        assert samples["hubble_agent_registrations_total"] == 2
        assert samples["hubble_agent_session_resumptions_total"] == 1
        assert samples['hubble_agent_sessions_closed_total{reason="closed",role="entry"}'] == 1
        assert samples['hubble_agent_read_bytes_total{role="entry"}'] == 1005
        samples = ask(exit_url)
        assert samples["hubble_agent_dial_seconds_count"] == 1
        assert samples['hubble_agent_sessions_opened_total{role="exit"}'] == 1
        assert samples['hubble_agent_dial_failures_total{cause="failed"}'] == 0
        tunnel.echo.stop()
        tunnel.connect().close()
        eventually(
            lambda: ask(exit_url)['hubble_agent_dial_failures_total{cause="failed"}'] == 1, "the failure is counted"
        )
        assert requests.get(exit_url.replace("/metrics", "/"), timeout=5).status_code == 404


def test_waiting_for_credit_is_counted() -> None:
    with Tunnel() as tunnel:
        meters = tunnel.agents[0]._links.meters
        assert meters.stalled == 0
        sock = tunnel.open()
        sock.settimeout(0.5)
        with contextlib.suppress(TimeoutError):
            sock.sendall(b"x" * (64 << 20))  # the echo's answer is not read
        leftover = 0
        sock.settimeout(5)
        while leftover < 1 << 20:
            leftover += len(sock.recv(65536))
        eventually(lambda: meters.stalled > 0.1, "it is counted")
        sock.close()


def serve(agent: Agent) -> str:
    listener = open_listener("127.0.0.1", 0)
    agent.serve_metrics(listener)
    return f"http://127.0.0.1:{listener.getsockname()[1]}/metrics"


def ask(url: str) -> dict[str, float]:
    answer = requests.get(url, timeout=5)
    assert answer.status_code == 200
    lines = (line.rpartition(" ") for line in answer.text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}
