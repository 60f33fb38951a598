"""Names that do not answer, asked for through an exit with a DNS server that is silent."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest

from tests.hostile.drivers import names
from tests.support.processes import AgentProcess
from tests.support.services import Service, echo
from tests.support.sockets import assert_echo
from tests.support.stage import Stage

SERVER = "127.53.53.53"
STUCK = 200
ASKED = 30
"""Names that are being looked up at once, by then: the dials of one gateway are bounded."""
QUICK = 1.0
"""Seconds within which a session to an address, or to a name of /etc/hosts, is open and has carried bytes."""


@pytest.fixture
def silent_server() -> Iterator[socket.socket]:
    if os.geteuid() or not shutil.which("unshare"):
        pytest.skip("needs root and unshare, to give one process another resolv.conf")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((SERVER, 53))
        yield server


def exit_agent(stage: Stage, url: str) -> AgentProcess:
    """An exit that asks only the silent server."""
    resolv = stage.directory / "resolv.conf"
    resolv.write_text(f"nameserver {SERVER}\n")
    agent = AgentProcess(stage.directory, url, "exit")
    mount = f'mount --bind "{resolv}" "$(readlink -f /etc/resolv.conf)" && exec "$@"'
    agent.argv = ["unshare", "--mount", "sh", "-c", mount, "sh", *agent.argv]
    if subprocess.run([*agent.argv[:5], "sh", "true"]).returncode:
        pytest.skip("this machine lets nobody mount")
    stage.processes.append(agent)
    agent.start()
    agent.wait_registered()
    return agent


def test_names_that_do_not_answer_hold_up_no_other_session(silent_server: socket.socket, tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    try:
        service = stage.add(Service(echo))
        proxy = stage.proxy("--max-rate", "1000")
        the_exit = exit_agent(stage, proxy.url)
        stuck = [f"0:exit:name{number}.example:80" for number in range(STUCK)]
        attacker = stage.agent(proxy.url, "attacker", f"0:exit:127.0.0.1:{service.port}", *stuck)
        other = stage.agent(
            proxy.url, "other", *(f"0:exit:{host}:{service.port}" for host in ("127.0.0.1", "localhost"))
        )
        stuck_ports = [attacker.port(rule) for rule in range(1, STUCK + 1)]
        attack = gevent.spawn(names.connect, seconds=5.0, port=proxy.port, entries=stuck_ports)
        silent_server.settimeout(10)
        asked = {silent_server.recv(512) for _ in range(2 * ASKED)}
        assert len(asked) >= ASKED
        for port in (attacker.port(0), other.port(0), other.port(1)):
            started = time.monotonic()
            assert_echo(port, 10)
            print(f"a session took {time.monotonic() - started:.3f} s")
            assert time.monotonic() - started < QUICK
        started = time.monotonic()
        assert the_exit.stop() == 0
        assert time.monotonic() - started < 2, "lookups under way have delayed the exit's end"
        attack.get(timeout=10)
        assert not stage.end()
    finally:
        stage.kill()
