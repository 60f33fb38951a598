"""A proxy whose descriptors are used up keeps its state, and says what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest

from hubble.directory import LEASE
from hubble.directory.sqlite import SQLiteDirectory
from hubble.protocol.messages import RESUMABLE, Ack, Handshake, Refusal
from tests.hostile.drivers import idle
from tests.hostile.drivers.raw import RawLink
from tests.support.processes import Process, ProxyProcess
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
