"""A proxy and an agent whose descriptors are used up keep their state, and say what is wrong."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest

from hubble.agent.agent import RESERVE
from hubble.directory import LEASE
from hubble.directory.sqlite import SQLiteDirectory
from hubble.protocol.messages import RESUMABLE, Ack, Handshake, Refusal
from tests.hostile.drivers import idle
from tests.hostile.drivers.raw import RawLink
from tests.support.processes import AgentProcess, Process, ProxyProcess
from tests.support.stage import Stage
from tests.support.waiting import poll

LIMIT = 48
"""What a worker may have open, of which it needs some 25."""
CONNECTIONS = 100


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """With a proxy of few descriptors."""
    stage = Stage(tmp_path)
    try:
        proxy = ProxyProcess(tmp_path, "-authgrant", "--workers", "1", "--runtime-dir", str(tmp_path / "run-0"))
        start_limited(stage, proxy)
        yield stage
        assert not stage.end()
    finally:
        stage.kill()


def start_limited(stage: Stage, process: Process) -> None:
    """Start the program with a soft and hard limit of LIMIT descriptors."""
    process.argv = ["sh", "-c", f'ulimit -n {LIMIT}; exec "$@"', "sh", *process.argv]
    stage.processes.append(process)
    process.start()


def test_connections_beyond_the_limit_cost_nobody_a_name(stage: Stage, tmp_path: Path) -> None:
    proxy = stage.processes[0]
    assert isinstance(proxy, ProxyProcess)
    holder = stage.agent(proxy.url, "name")
    attack = gevent.spawn(idle.connections, port=proxy.port, seconds=LEASE + 3, count=CONNECTIONS)
    proxy.log.wait_for(r"refused \d+ connections: too few of 48 file descriptors are left")
    directory = SQLiteDirectory(tmp_path / "run-0" / "directory.sqlite")
    counts = attack.get(timeout=LEASE + 20)
    assert counts["HTTP/1.1 503 Service Unavailable"] > CONNECTIONS / 2
    assert "reset" not in counts and "closed" not in counts, counts
    assert len(directory.workers()) == 1, "the lease has run out"
    held = directory.find("name")
    directory.close()
    assert held is not None
    rival = poll(lambda: _link(proxy), 15, "it accepts again")
    assert rival is not None
    rival.say(Handshake("name", features=frozenset({RESUMABLE}), instance=b"another instance", epoch=1))
    answer = rival.hear()
    assert isinstance(answer, Ack) and answer.code is Refusal.NAME_TAKEN
    rival.close()
    assert len(holder.log.matches("registered as")) == 1


def _link(proxy: ProxyProcess) -> RawLink | None:
    try:
        return RawLink(proxy.port)
    except OSError:
        return None


def devices(process: Process) -> int:
    """How many descriptors of /dev/null the process has."""
    return [os.readlink(each) for each in Path(f"/proc/{process.pid}/fd").iterdir()].count("/dev/null")


def test_an_agent_without_a_free_descriptor_returns_to_its_proxy(tmp_path: Path) -> None:
    """Connections to an entry, whose exit does not exist, use up its descriptors; then its link is cut."""
    stage = Stage(tmp_path)
    clients: list[socket.socket] = []
    try:
        proxy = stage.proxy()
        relay = stage.relay(("127.0.0.1", proxy.port))
        exhausted = AgentProcess(tmp_path, proxy.url_at(relay.port), "entry", "--link-wait", "60", "0:exit:host:22")
        start_limited(stage, exhausted)
        exhausted.wait_registered()
        poll(lambda: devices(exhausted) >= RESERVE, 5, "the reserve is filled")
        relay.refuse()
        relay.cut()
        clients += [socket.create_connection(("127.0.0.1", exhausted.port(0))) for _ in range(LIMIT)]
        exhausted.log.wait_for("cannot accept a connection: Too many open files")
        mark = exhausted.log.mark()
        relay.heal()
        exhausted.wait_registered(after=mark)
        assert not stage.end()
    finally:
        for client in clients:
            client.close()
        stage.kill()
