"""Many authorizations at once, and what the rest of the process notices of them."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import gevent
import pytest
from gevent import socket

from tests.policy.lua.conftest import REQUEST, Make
from tests.support.httpservers import python_path

COUNT = 500
WAIT = 1.0  # seconds that the server takes for each
ALLOWED_TIME = 2.5  # seconds for all
ALLOWED_P99 = 0.020  # seconds for a byte there and back meanwhile


@dataclass(frozen=True)
class Server:
    url: str
    pid: int


def kept_waiting(pid: int | str) -> float:
    """Seconds in which a process wanted a core and the machine ran others; 0 where the kernel does not tell."""
    path = Path(f"/proc/{pid}/schedstat")
    return int(path.read_text().split()[1]) / 1e9 if path.exists() else 0.0


@pytest.fixture
def slow_server() -> Iterator[Server]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(4096, hard)), hard))
    command = [sys.executable, "-m", "tests.support.slowserver"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=python_path()) as process:
        assert process.stdout is not None
        try:
            yield Server(f"http://127.0.0.1:{int(process.stdout.readline())}", process.pid)
        finally:
            process.terminate()


class PingPong:
    """A byte that goes there and back over a socket all the time; `trips` has the seconds of each, less those in which
    the machine ran other processes."""

    def __init__(self) -> None:
        self.trips: list[float] = []
        self._here, self._there = socket.socketpair()
        self._tasks = [gevent.spawn(self._play), gevent.spawn(self._answer)]

    def _play(self) -> None:
        while True:
            started = time.perf_counter() - kept_waiting("self")
            self._here.sendall(b"x")
            self._here.recv(1)
            self.trips.append(time.perf_counter() - kept_waiting("self") - started)
            gevent.sleep(0.001)

    def _answer(self) -> None:
        while True:
            self._there.sendall(self._there.recv(1))

    def stop(self) -> None:
        gevent.killall(self._tasks)
        self._here.close()
        self._there.close()

    def p99(self) -> float:
        return sorted(self.trips)[int(len(self.trips) * 0.99)]


def test_five_hundred_at_once(make: Make, slow_server: Server) -> None:
    policy = make(
        f"""
        local http = require("http")
        function connect(request)
          local response, wrong = http.get("{slow_server.url}/?ip=" .. request:ip() .. "&port=" .. request:port())
          if wrong then error(wrong) end
          return response.status_code == 200
        end
        """
    )
    ping_pong = PingPong()
    waited = kept_waiting("self") + kept_waiting(slow_server.pid)
    started = time.perf_counter()
    tasks = [gevent.spawn(policy.connect, replace(REQUEST, port=22 + n % 2)) for n in range(COUNT)]
    gevent.joinall(tasks, timeout=20, raise_error=True)
    took = time.perf_counter() - started
    waited = kept_waiting("self") + kept_waiting(slow_server.pid) - waited
    ping_pong.stop()
    assert {task.value.detail for task in tasks} == {""}
    assert [task.value.allowed for task in tasks] == [n % 2 == 0 for n in range(COUNT)]
    assert took - waited < ALLOWED_TIME
    assert ping_pong.p99() < ALLOWED_P99
    worst = max(ping_pong.trips)
    print(f"\n{COUNT} in {took:.2f} s, {waited:.2f} s of them for other processes; a byte there and back took")
    print(f"{ping_pong.p99() * 1000:.1f} ms (p99), {worst * 1000:.1f} ms (worst of {len(ping_pong.trips)})")
