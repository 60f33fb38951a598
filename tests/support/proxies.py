"""Proxies with workers that do no work, as processes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from gevent import socket

from tests.support.processes import ROOT, START, TRACEBACK, Process, ProxyProcess
from tests.support.waiting import poll


class QuickProxy(ProxyProcess):
    """One with workers that behave as told (noop.py), in the runtime directory `runtime`."""

    def __init__(
        self, directory: Path, runtime: Path, behaviours: str, options: tuple[str, ...], name: str, **patience: Any
    ) -> None:
        super().__init__(directory, "-authgrant", "--runtime-dir", str(runtime), *options, name=name)
        self.runtime = runtime
        self.argv[:2] = [sys.executable, "-S", "-m", "tests.support.quick", behaviours, json.dumps(patience)]

    def start(self) -> None:
        mark = self.log.mark()
        super().start()
        self.log.wait_for("listening on", after=mark)  # it has taken in what the workers have said until then

    def noops(self, number: int) -> list[int]:
        """The processes of all workers that had this number, in order."""
        return [int(line.split()[2]) for line in self.log.matches(rf"^noop {number} \d+ started")]

    def begin(self, until: str) -> None:
        """Start it, and wait for what it logs on its way instead of for its being ready."""
        self._ports_file.unlink(missing_ok=True)
        Process.start(self)
        self.log.wait_for(until, within=START)

    def told(self, what: str, times: int = 1) -> None:
        """Wait until the workers were told so."""
        self.log.wait_for(rf"^noop \d+ \d+ {re.escape(what)}", times=times, within=START)

    def wait(self, within: float = START) -> int:
        return super().wait(within)


class Proxies:
    """Starts them, and ends them all; none may have raised."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.runtime = directory / "run"
        self._all: list[ProxyProcess] = []

    def add(self, proxy: ProxyProcess) -> None:
        self._all.append(proxy)

    def make(
        self, behaviours: str = "serve", *options: str, workers: int = 2, name: str = "", **patience: Any
    ) -> QuickProxy:
        """One that was not started yet."""
        name = name or f"proxy{len(self._all)}"
        options = ("--workers", str(workers), *options)
        proxy = QuickProxy(self.directory, self.runtime, behaviours, options, name, **patience)
        self.add(proxy)
        return proxy

    def start(self, behaviours: str = "serve", *options: str, workers: int = 2, **patience: Any) -> QuickProxy:
        """One that serves."""
        proxy = self.make(behaviours, *options, workers=workers, **patience)
        proxy.start()
        return proxy

    def successor(self, old: ProxyProcess, behaviours: str = "serve", *options: str, **patience: Any) -> QuickProxy:
        """One that is to take over, and was not started yet."""
        proxy = self.make(behaviours, "--takeover", *options, **patience)
        proxy.argv[proxy.argv.index("-listen") + 1] = f"127.0.0.1:{old.port}"
        return proxy

    def end(self) -> None:
        for proxy in (proxy for proxy in self._all if proxy.log.lines):
            Process.kill(proxy)
            proxy.release()
            with suppress(ProcessLookupError):  # what a supervisor that was killed has left
                os.killpg(proxy.pid, signal.SIGKILL)
        raised = [
            proxy.name for proxy in self._all if TRACEBACK in proxy.log.text or "never retrieved" in proxy.log.text
        ]
        assert not raised, raised


def refused(proxy: ProxyProcess) -> tuple[int, str]:
    """The status and the one line with which a proxy ends by itself, which may have logged what it did until then."""
    ended = subprocess.run(
        proxy.argv, cwd=ROOT, capture_output=True, text=True, timeout=START, stdin=subprocess.DEVNULL
    )
    (line,) = [line for line in ended.stderr.splitlines() if not re.match(r"\d{4}-\S+ ", line)]
    assert line.startswith("hubble-proxy: "), ended.stderr
    return ended.returncode, line.removeprefix("hubble-proxy: ")


def alive(pid: int) -> bool:
    """Whether the process runs: neither gone nor a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def inheritable(pid: int) -> list[str]:
    """The open files that a program which this process starts would have too, besides the standard ones."""
    found = []
    for file in Path(f"/proc/{pid}/fdinfo").iterdir():
        (flags,) = (int(line.split()[1], 8) for line in file.read_text().splitlines() if line.startswith("flags:"))
        if int(file.name) > 2 and not flags & os.O_CLOEXEC:
            found.append(os.readlink(f"/proc/{pid}/fd/{file.name}"))
    return found


def holds(pid: int, port: int) -> bool:
    """Whether the process has a socket open that listens there."""
    sockets = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    (listener,) = {f"socket:[{each[9]}]" for each in sockets if each[1].endswith(f":{port:04X}") and each[3] == "0A"}
    for file in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            if os.readlink(file) == listener:
                return True
    return False


def gone(*pids: int) -> None:
    """Wait until these processes are."""
    poll(lambda: not any(alive(pid) for pid in pids), START, f"{pids} end")


def is_listening(port: int) -> bool:
    """Whether somebody accepts there, or will: a connection can be made."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=START).close()
    except ConnectionRefusedError:
        return False
    return True


def files(directory: Path) -> list[str]:
    """The names of what is in a directory."""
    return sorted(path.name for path in directory.iterdir())
