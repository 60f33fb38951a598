"""Soak: `python -m benchmarks.soak SECONDS` runs traffic for SECONDS, and fails if the memory of a process grows.

Two workers with an admin listener carry short sessions, a long one, an agent that comes and goes, and an operator who
looks at everything. After the first third of the time no process may grow by more than GROWTH.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from statistics import median

from benchmarks.lab import Lab
from benchmarks.load import echoing
from benchmarks.processes import BenchmarkError, Process
from benchmarks.tunnel import Tunnel

GROWTH = 0.05
SAMPLE_INTERVAL = 5.0
LOOK_INTERVAL = 2.0
CHURN_INTERVAL = 10.0
SESSIONS_PER_SECOND = 25
PATHS = ("status", "gateways", "sessions", "events?limit=200", "workers", "history")

Samples = dict[str, list[tuple[float, int]]]


class Operator:
    """Polls every list of the API, and the metrics."""

    def __init__(self, runtime: Path) -> None:
        said = json.loads((runtime / "admin.json").read_text())
        self._url, self._headers = f"http://{said['address']}", {"Authorization": f"Bearer {said['token']}"}

    def look(self) -> None:
        """Send each request once."""
        for path in (*(f"api/{path}" for path in PATHS), "metrics"):
            with suppress(urllib.error.HTTPError):
                request = urllib.request.Request(f"{self._url}/{path}", headers=self._headers)
                urllib.request.urlopen(request, timeout=10).read()


class Soak:
    """The tunnel and its traffic."""

    def __init__(self, lab: Lab, seconds: float) -> None:
        self._seconds = seconds
        self._tunnel = tunnel = Tunnel(lab)
        self._address = tunnel.start_proxy("127.0.0.1:0", "--workers", "2", "--admin", "127.0.0.1:0")
        service = lab.service()
        tunnel.start_agent("exit", self._address)
        (port,) = tunnel.start_agent("entry", self._address, f"0:exit:127.0.0.1:{service}")
        self._entry = ("127.0.0.1", port)
        self._operator = Operator(tunnel.runtime)
        self._long = echoing(self._entry)
        self._visitor: Process | None = None
        self.samples: Samples = defaultdict(list)

    def run(self) -> None:
        """Run until the time is over. Raises BenchmarkError if a process was replaced."""
        started = time.monotonic()
        due = {self._sample: SAMPLE_INTERVAL, self._operator.look: LOOK_INTERVAL, self._come_and_go: CHURN_INTERVAL}
        next_at = dict.fromkeys(due, started)
        sessions = 0
        while (elapsed := time.monotonic() - started) < self._seconds:
            for work, interval in due.items():
                if time.monotonic() >= next_at[work]:
                    next_at[work] += interval
                    work()
            echoing(self._entry).close()
            self._long.sendall(b"x")
            self._long.recv(1)
            sessions += 1
            time.sleep(max(0.0, sessions / SESSIONS_PER_SECOND - elapsed))
        print(f"{sessions} sessions in {self._seconds:g} s", flush=True)

    def _come_and_go(self) -> None:
        if self._visitor is not None:
            self._visitor.kill()
        self._tunnel.start_agent("visitor", self._address)
        self._visitor = self._tunnel.processes["visitor"]

    def _sample(self) -> None:
        for name, pid in self._processes():
            self.samples[f"{name} {pid}"].append((time.monotonic(), _private(pid)))

    def _processes(self) -> Iterator[tuple[str, int]]:
        proxy = self._tunnel.processes["proxy"]
        yield "supervisor", proxy.popen.pid
        for pid in sorted(proxy.children()):
            yield "worker", pid
        for name in ("exit", "entry"):
            yield name, self._tunnel.processes[name].popen.pid


def report(samples: Samples, seconds: float) -> bool:
    """Print each process's memory after a third of the time and at the end. Return whether none has grown."""
    flat = True
    for name, points in samples.items():
        third = max(1, len(points) // 10)
        early = median(size for _, size in points[len(points) // 3 :][:third])
        late = median(size for _, size in points[-third:])
        growth = late / early - 1
        flat &= growth <= GROWTH
        rate = (late - early) / 1024 / (seconds * 2 / 3 / 60)
        print(f"{name:20} {early / 2**20:7.2f} MiB -> {late / 2**20:7.2f} MiB  {growth:+7.2%}  {rate:+.1f} KiB/min")
    return flat


def _private(pid: int) -> int:
    """Return the private memory of a process in bytes. Shared pages depend on other processes."""
    total = 0
    with suppress(FileNotFoundError, ProcessLookupError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith(("Private_Clean:", "Private_Dirty:")):
                total += int(line.split()[1]) * 1024
    return total


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("seconds", type=float, nargs="?", default=3600.0, help="the duration (default: 3600)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all samples to FILE")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, Lab(Path(scratch), 1, given.seconds) as lab:
        soak = Soak(lab, given.seconds)
        soak.run()
    if given.json:
        given.json.write_text(json.dumps(soak.samples))
    return 0 if report(soak.samples, given.seconds) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchmarkError as failure:
        sys.exit(str(failure))
