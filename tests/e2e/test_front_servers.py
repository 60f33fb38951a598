"""Real nginx, HAProxy and Caddy in front, with the configurations in examples/; TLS ends there, on a path prefix.

The agents come from ::1 and the front servers from 127.0.0.1, so that the log shows whom the proxy takes for whom.
"""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import gevent
import pytest

from tests.support import fronts
from tests.support.certificates import Authority, Identity
from tests.support.fronts import IDLE
from tests.support.processes import AgentProcess
from tests.support.programs import require
from tests.support.scale import MB
from tests.support.services import Exchange, Service, echo
from tests.support.sockets import connect, echoed
from tests.support.stage import Stage
from tests.support.traffic import exchange

Front = Callable[..., AbstractContextManager[int]]

FRONTS = pytest.mark.parametrize(
    "front", [fronts.nginx, fronts.haproxy, fronts.caddy], ids=lambda front: front.__name__
)
BEHIND = ("--path", "/hubble", "--trusted-proxy", "127.0.0.1")


@pytest.fixture
def ca(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def identity(ca: Authority) -> Identity:
    return ca.issue("::1", "localhost")


def agents(stage: Stage, port: int, ca: Authority, service: int, *options: str) -> tuple[AgentProcess, AgentProcess]:
    """The entry and the exit, both by way of the front server."""
    url, options = f"wss://[::1]:{port}/hubble", ("-ca", ca.file, "--proxy", "none", *options)
    exit_agent = stage.agent(url, "exit", *options)
    return stage.agent(url, "entry", f"0:exit:127.0.0.1:{service}", *options), exit_agent


@FRONTS
def test_as_shipped_sessions_pass_and_the_client_is_known(
    stage: Stage, ca: Authority, identity: Identity, front: Front
) -> None:
    service = stage.add(Exchange())
    hubble = stage.proxy(*BEHIND)
    with front(hubble.port, identity, idle=None) as port:
        # What an agent says of itself must not be believed, although its front server is.
        lies = ("--header", "X-Forwarded-For: 127.0.0.2", "--header", "Forwarded: for=127.0.0.2")
        entry, _ = agents(stage, port, ca, service.port, *lies)
        hubble.log.wait_for(r"gateway exit registered from ::1")
        hubble.log.wait_for(r"gateway entry registered from ::1")
        exchange(entry.port(), random.randrange(2**32), 5 * MB)
        assert not service.failures
        curl = [require("curl"), "-sS", "--cacert", ca.file, "--noproxy", "*"]
        url = f"https://[::1]:{port}/hubble/healthz"
        assert subprocess.run([*curl, url], capture_output=True, timeout=20, check=True).stdout == b"ok\n"
        _end(stage)


@FRONTS
def test_a_session_outlives_idleness_and_the_proxy_behind(
    stage: Stage, ca: Authority, identity: Identity, front: Front
) -> None:
    """Its links live by their pings; a killed proxy is behind the same front server when it is back."""
    service = stage.add(Service(echo))
    hubble = stage.proxy("--ping-interval", "0.5", *BEHIND)
    with front(hubble.port, identity) as port:
        entry, exit_agent = agents(stage, port, ca, service.port, "--ping-interval", "0.5")
        with connect(entry.port()) as sock:
            assert echoed(sock, b"before") == b"before"
            gevent.sleep(2 * IDLE + 1)  # the length of the pause, not a wait for anything
            assert echoed(sock, b"after") == b"after"
            for agent in (entry, exit_agent):
                assert len(agent.log.matches("registered as")) == 1
            hubble.restart()
            assert echoed(sock, b"after a restart") == b"after a restart"
        _end(stage)


@pytest.mark.parametrize("front", [fronts.nginx, fronts.haproxy], ids=lambda front: front.__name__)
def test_without_pings_the_same_link_would_be_cut(
    stage: Stage, ca: Authority, identity: Identity, front: Front
) -> None:
    """That is: the time-outs of the test above are there."""
    hubble = stage.proxy("--ping-interval", "60", *BEHIND)
    with front(hubble.port, identity) as port:
        agent = stage.agent(f"wss://[::1]:{port}/hubble", "a", "-ca", ca.file, "--ping-interval", "60")
        agent.log.wait_for("the link to the proxy was lost", within=5 * IDLE)
        _end(stage)


@pytest.mark.parametrize("header", ["send-proxy", "send-proxy-v2"])
def test_the_proxy_protocol(stage: Stage, ca: Authority, identity: Identity, header: str) -> None:
    """HAProxy passes TLS through, and says whom it speaks for."""
    service = stage.add(Service(echo))
    tls = ("--tls-cert", identity.cert, "--tls-key", identity.key)
    hubble = stage.proxy("--trusted-proxy", "127.0.0.1", "--proxy-protocol", *tls)
    with fronts.haproxy(hubble.port, identity, idle=None, example="haproxy-tcp.cfg", header=header) as port:
        entry, _ = agents(stage, port, ca, service.port)
        hubble.log.wait_for(r"gateway exit registered from ::1")
        with connect(entry.port()) as sock:
            assert echoed(sock, b"hello") == b"hello"
        _end(stage)


def _end(stage: Stage) -> None:
    """Everything leaves in order while its front server is still there."""
    assert stage.end() == []
