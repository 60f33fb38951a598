"""Programs whose standard error nobody reads."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import ROOT, START
from tests.support.services import Service, echo
from tests.support.sockets import assert_echo
from tests.support.waiting import poll

PIPE_SIZE = 4096
SESSIONS = 60
"""More than enough: each is some lines of the debug log in each program."""
END = 10.0


class Mute:
    """A program whose standard error is a pipe that is full and not read."""

    def __init__(self, directory: Path, program: str, name: str, *arguments: str) -> None:
        self._ports = directory / f"{name}.json"
        self._reader, writer = os.pipe()
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
        os.write(writer, b"x" * PIPE_SIZE)
        command = [sys.executable, str(ROOT / "bin" / program), "--ports-file", str(self._ports)]
        command += ["--log-level", "debug", *arguments]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=writer, start_new_session=True)
        os.close(writer)

    def ports(self) -> dict[str, object]:
        poll(self._ports.exists, START, f"{self._ports.name} is written")
        ports: dict[str, object] = json.loads(self._ports.read_text())
        return ports

    def children(self) -> list[int]:
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(END)

    def kill(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        os.close(self._reader)


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[list[Mute]]:
    """A proxy, an exit and an entry, in this order."""
    service = Service(echo)
    run = str(tmp_path / "run")
    programs = [Mute(tmp_path, "hubble-proxy", "proxy", "-listen", "127.0.0.1:0", "-authgrant", "--workers", "1",
                     "--runtime-dir", run)]  # fmt: skip
    try:
        url = f"ws://{programs[0].ports()['listen']}"
        programs.append(Mute(tmp_path, "hubble-agent", "exit", "-url", url, "-name", "exit"))
        rule = f"0:exit:127.0.0.1:{service.port}"
        programs.append(Mute(tmp_path, "hubble-agent", "entry", "-url", url, "-name", "entry", rule))
        yield programs
    finally:
        for program in programs:
            program.kill()
        service.close()


def test_nobody_waits_for_whoever_reads_standard_error(programs: list[Mute]) -> None:
    """Sessions open and close, a killed worker is replaced, and SIGTERM ends every program."""
    proxy, _, entry = programs
    rules: Any = entry.ports()["rules"]
    for _ in range(SESSIONS):
        assert_echo(rules[0]["port"], START)
    (worker,) = proxy.children()
    os.kill(worker, signal.SIGKILL)
    poll(lambda: proxy.children() and proxy.children() != [worker], START, "another worker starts")
    assert_echo(rules[0]["port"], START)
    assert [program.stop() for program in reversed(programs)] == [0, 0, 0]
