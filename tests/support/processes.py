"""The programs under test as processes: bin/hubble-proxy and bin/hubble-agent."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gevent

from tests.support.log import Log
from tests.support.waiting import poll

ROOT = Path(__file__).resolve().parents[2]
START = 20.0  # seconds that a program may take to be ready on a busy machine
TRACEBACK = "Traceback (most recent call last)"


class Process:
    """One program, started and stopped any number of times with the same arguments."""

    def __init__(self, name: str, argv: Sequence[str], directory: Path) -> None:
        self.name = name
        self.argv = list(argv)
        self.log = Log(name, directory / f"{name}.log")
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: gevent.Greenlet | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} was never started"
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        assert not self.running, f"{self.name} runs already"
        self._process = subprocess.Popen(
            self.argv,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            start_new_session=True,
        )
        assert self._process.stdout is not None
        self._reader = self.log.follow(self._process.stdout)

    def send(self, signum: int) -> None:
        assert self._process is not None
        self._process.send_signal(signum)

    def wait(self, within: float = 10.0) -> int:
        """The exit status, minus the signal's number if one ended it; all output is in the log by then."""
        assert self._process is not None and self._reader is not None
        status = self._process.wait(within)
        self._reader.join(within)
        return status

    def stop(self, signum: int = signal.SIGTERM, within: float = 10.0) -> int:
        """Asks the program to end, and waits until it has."""
        self.send(signum)
        return self.wait(within)

    def kill(self) -> None:
        """SIGKILL: the program gets no chance to say good-bye, nor do those that it has started."""
        if self.running:
            os.killpg(self.pid, signal.SIGKILL)
            self.wait()

    def memory(self) -> int:
        """Bytes of memory that would be free without this program's processes (their PSS)."""
        return sum(_pss(pid) for pid in (self.pid, *self.children()))

    def open_files(self) -> int:
        return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in (self.pid, *self.children()))

    def greenlets(self, pid: int | None = None) -> int:
        """How many it says that it has, or the one of its children that is meant."""
        mark = self.log.mark()
        os.kill(pid or self.pid, signal.SIGUSR1)
        line = self.log.wait_for(r"\d+ greenlets: ", after=mark)
        return int(line.split(" greenlets: ")[0].rpartition(" ")[2])

    def threads(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/task"))

    def children(self) -> list[int]:
        """The processes that it has started, such as a proxy's workers."""
        return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]


def _pss(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"no Pss in /proc/{pid}/smaps_rollup")


class HubbleProcess(Process):
    """A program that writes the ports it has bound to a file."""

    def __init__(self, program: str, name: str, arguments: Sequence[str], directory: Path) -> None:
        self._ports_file = directory / f"{name}.ports.json"
        argv = [sys.executable, str(ROOT / "bin" / program), "--ports-file", str(self._ports_file), *arguments]
        super().__init__(name, argv, directory)

    def start(self) -> None:
        self._ports_file.unlink(missing_ok=True)
        super().start()
        self.ports()

    def ports(self) -> dict[str, Any]:
        """The ports file, as soon as the program has bound all its listeners."""

        def written() -> bool:
            if not self.running:
                self.wait()
                raise AssertionError(f"{self.name} ended before it listened:\n{self.log.text}")
            return self._ports_file.exists()

        poll(written, START, f"{self.name} writes {self._ports_file.name}")
        ports: dict[str, Any] = json.loads(self._ports_file.read_text())
        return ports


class ProxyProcess(HubbleProcess):
    def __init__(self, directory: Path, *arguments: str, name: str = "proxy") -> None:
        super().__init__("hubble-proxy", name, ["-listen", "127.0.0.1:0", *arguments], directory)
        self.port = 0
        self._placeholder: socket.socket | None = None

    def start(self) -> None:
        """Listens on any port the first time, on that same port every other time."""
        super().start()
        self.port = int(self.ports()["listen"].rpartition(":")[2])
        self.argv[self.argv.index("-listen") + 1] = f"127.0.0.1:{self.port}"
        self.release()

    @property
    def url(self) -> str:
        return self.url_at(self.port)

    def url_at(self, port: int) -> str:
        """The URL for agents that reach the proxy through a port of loopback, its own or a relay's."""
        return f"{'wss' if '--tls-cert' in self.argv else 'ws'}://127.0.0.1:{port}"

    def kill(self) -> None:
        """SIGKILL. No other program on the machine can get the port meanwhile; who connects to it is refused."""
        super().kill()
        if self.port and self._placeholder is None:
            self._placeholder = socket.socket()
            self._placeholder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            poll(self._bound, START, "the workers that were killed are gone")

    def _bound(self) -> bool:
        assert self._placeholder is not None
        try:
            self._placeholder.bind(("127.0.0.1", self.port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return False
        return True

    def release(self) -> None:
        """Lets go of the port that `kill` keeps."""
        if self._placeholder is not None:
            self._placeholder.close()
            self._placeholder = None

    def restart(self) -> None:
        self.kill()
        self.start()


class AgentProcess(HubbleProcess):
    def __init__(self, directory: Path, url: str, name: str, *arguments: str, log_name: str = "") -> None:
        super().__init__("hubble-agent", log_name or name, ["-url", url, "-name", name, *arguments], directory)

    def port(self, rule: int = 0) -> int:
        """The local port of the `rule`-th rule."""
        return int(self.ports()["rules"][rule]["port"])

    def wait_registered(self, times: int = 1, within: float = START, after: int = 0) -> None:
        """Returns when the proxy has accepted this agent `times` times (since the mark `after`)."""
        self.log.wait_for("registered as", times=times, within=within, after=after)
