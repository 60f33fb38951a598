"""What an agent's process does about signals, whatever its proxy does meanwhile."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest
from gevent import socket

from hubble.protocol.messages import Ack, Stream
from tests.support.fakeproxy import Call, FakeProxy
from tests.support.processes import ROOT, AgentProcess
from tests.support.sockets import connect
from tests.support.waiting import poll

PATIENCE = 20.0
MOST = 2.0
"""Seconds that an agent may take to end."""
STUCK_RESOLVER = """
import _socket, time
sleep, real = time.sleep, _socket.getaddrinfo

def getaddrinfo(host, port, family=0, type=0, proto=0, flags=0):
    if not flags & _socket.AI_NUMERICHOST:
        sleep(60)
    return real(host, port, family, type, proto, flags)

_socket.getaddrinfo = getaddrinfo
"""


@pytest.fixture
def fake() -> Iterator[FakeProxy]:
    fake = FakeProxy()
    yield fake
    fake.close()


def start(directory: Path, url: str, *rules: str) -> AgentProcess:
    agent = AgentProcess(directory, url, "agent", *rules)
    agent.start()
    return agent


def stops_in_time(agent: AgentProcess) -> None:
    began = time.monotonic()
    agent.stop()
    took = time.monotonic() - began
    assert took < MOST + 0.5, f"{took:.1f} s"  # half a second for a busy machine to notice


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR2, signal.SIGPIPE])
def test_a_signal_that_would_end_it_is_ignored(fake: FakeProxy, tmp_path: Path, number: int) -> None:
    agent = start(tmp_path, fake.url, "0:exit:host:1")
    call = fake.accept()
    with connect(agent.port()) as client:
        call.open()
        agent.send(number)
        if number != signal.SIGPIPE:
            agent.log.wait_for("ignored SIG(HUP|USR2): the agent cannot reload")
        client.sendall(b"still here")
        assert call.hear(Stream).payload == b"still here"
    agent.stop()


def test_its_terminal_closes(fake: FakeProxy, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    ports = tmp_path / "ports"
    command = [sys.executable, str(ROOT / "bin" / "hubble-agent"), "-url", fake.url, "-name", "a", "0:exit:host:1"]
    script = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
    process = subprocess.Popen(
        [sys.executable, "-c", script, *command, "--ports-file", str(ports)],
        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    call = fake.accept()
    os.close(ours)
    call.cut()  # it has something to log, and nowhere to
    call = fake.accept()
    gevent.sleep(0.5)
    assert process.poll() is None
    process.terminate()
    assert process.wait(PATIENCE) in (0, 1)


class TestEndsInTime:
    def test_while_the_proxy_neither_reads_nor_closes(self, fake: FakeProxy, tmp_path: Path) -> None:
        agent = start(tmp_path, fake.url)
        call = fake.accept()
        agent.wait_registered()
        call.freeze()
        stops_in_time(agent)

    def test_while_the_proxy_floods(self, fake: FakeProxy, tmp_path: Path) -> None:
        agent = start(tmp_path, fake.url)
        call = fake.accept()
        agent.wait_registered()
        call.freeze()
        flooding = gevent.spawn(flood, call)
        gevent.sleep(0.3)
        stops_in_time(agent)
        flooding.kill()

    def test_while_it_waits_for_the_upgrade(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            agent = start(tmp_path, f"ws://127.0.0.1:{silent.getsockname()[1]}")
            with silent.accept()[0]:
                stops_in_time(agent)

    def test_while_it_connects(self, tmp_path: Path) -> None:
        with socket.socket() as full:
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            waiting = [gevent.spawn(socket.create_connection, full.getsockname()) for _ in range(4)]
            agent = start(tmp_path, f"ws://127.0.0.1:{full.getsockname()[1]}")
            gevent.sleep(0.3)
            stops_in_time(agent)
            gevent.killall(waiting)

    def test_while_a_name_does_not_resolve(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "sitecustomize.py").write_text(STUCK_RESOLVER)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        agent = start(tmp_path, "ws://nowhere.invalid:1")
        gevent.sleep(0.3)
        stops_in_time(agent)

    def test_with_a_log_that_nobody_reads(self, fake: FakeProxy, tmp_path: Path) -> None:
        read, write = os.pipe()
        command = [sys.executable, str(ROOT / "bin" / "hubble-agent"), "-url", fake.url, "-name", "a"]
        process = subprocess.Popen([*command, "-log-level", "debug"], stdout=write, stderr=write)
        call = fake.accept()
        for number in range(3000):
            call.say(Stream(number.to_bytes(16, "big"), True, 0, b"x"))  # each a line of the log
        poll(lambda: len(call.raw) >= 3000, PATIENCE, "the agent has read all")
        began = time.monotonic()
        process.terminate()
        process.wait(PATIENCE)
        assert time.monotonic() - began < MOST + 0.5
        os.close(read)
        os.close(write)


def flood(call: Call) -> None:
    """Say more than the agent can hear."""
    while not call.link.closed:
        while call.link.queued_bytes < 1 << 20:
            for number in range(1000):
                call.say(Ack(number.to_bytes(16, "big"), True))
        gevent.sleep(0.001)
