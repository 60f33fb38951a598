"""Real processes under attack: a proxy, an exit, an entry, and a legitimate ping-pong session that is measured.

To add an attack: write a driver in `tests/hostile/drivers/<topic>.py`, a function that takes `port`, `seconds` and what
else it needs by keyword, attacks until the time is over (`raw.again_and_again` reconnects) and returns a dict for the
test. It runs in a process of its own, without gevent. Then, in `tests/hostile/test_<topic>.py`:

    def test_pongs(arena: Arena) -> None:
        counts = arena.withstand(frames.pongs, size=0)
        assert counts["closed with 1008"]

`withstand` fails unless the session and the processes stay within the `Bounds`. Other options of the programs:
`@pytest.mark.parametrize("arena", [Setup(workers=2, tls=True)], indirect=True)`. Tests of one module with the same
setup share the processes while they pass. A test takes some 6 s; a whole topic should stay below 40 s.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import gevent

from tests.hostile.cpu import OtherLoad
from tests.support.certificates import Authority
from tests.support.processes import ROOT
from tests.support.services import Service, echo
from tests.support.sockets import assert_echo
from tests.support.stage import Stage, Tunnel
from tests.support.waiting import poll

MIB = 1 << 20
USUAL = 1.5
"""Seconds for which the session is measured without an attack, before it and after it."""
RECOVERY = 5.0
"""Seconds after an attack within which all is as before."""
ATTEMPTS = 2
"""An attack whose bounds were missed is repeated once: another program of this machine may have been the reason."""

Driver = Callable[..., dict[str, Any]]


@dataclass(frozen=True)
class Setup:
    """What the arena's processes are started with."""

    workers: int = 1
    tls: bool = False
    proxy: tuple[str, ...] = ()
    entry: tuple[str, ...] = ()
    exit: tuple[str, ...] = ()


@dataclass(frozen=True)
class Bounds:
    """What an attack may cost the others.

    longest: seconds of the longest round trip. times and noise: p99 stays under `times` that without the attack, plus
    `noise` seconds, since attacker, proxy, agents and test share two processors, whose scheduler gives turns of some
    milliseconds. growth: bytes by which the memory of each program may grow.
    """

    longest: float = 0.25
    times: float = 2.0
    noise: float = 0.03
    growth: int = 32 * MIB

    def on(self, factor: float) -> Bounds:
        """Bounds of time for a machine of which other programs left the measured ones so much less."""
        return replace(self, longest=self.longest * factor, noise=self.noise * factor)


@dataclass(frozen=True)
class Measured:
    """Round trips of the session, in seconds."""

    count: int
    longest: float
    p99: float

    def __str__(self) -> str:
        return f"{self.count} round trips, longest {self.longest * 1000:.1f} ms, p99 {self.p99 * 1000:.1f} ms"


class PingPong:
    """The measured session; its ends are in a process of their own, so that the test does not measure itself."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.hostile.pingpong"]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.port = int(self._line())

    @property
    def pid(self) -> int:
        return self._process.pid

    def open(self, entry: int) -> None:
        """Open the session through the entry's port."""
        self._say(str(entry))

    def begin(self) -> None:
        """Begin to measure."""
        self._say("begin")

    def end(self) -> Measured:
        """What was measured since `begin`."""
        self._say("end")
        line = self._line()
        assert line, "the legitimate session broke"
        return Measured(**json.loads(line))

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


@dataclass
class Outcome:
    """What one attack did to the others, and what its driver returned."""

    counts: dict[str, Any]
    before: Measured
    during: Measured
    growth: dict[str, int]
    complaints: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        grown = ", ".join(f"{name} {growth / MIB:+.1f} MiB" for name, growth in self.growth.items())
        lines = [f"before: {self.before}", f"during: {self.during}", f"memory: {grown}", f"driver: {self.counts}"]
        return "\n".join([*self.complaints, *lines])


class Arena:
    """The processes, and the session through them. `tunnel` has them, and a second rule to an echo service."""

    def __init__(self, directory: Path, setup: Setup) -> None:
        self.setup = setup
        self.stage = Stage(directory)
        self.pingpong = self.stage.add(PingPong())
        self.echo = self.stage.add(Service(echo))
        trusting: tuple[str, ...] = ()
        serving: tuple[str, ...] = ("--workers", str(setup.workers))
        if setup.tls:
            ca = Authority(directory)
            identity = ca.issue("127.0.0.1", "localhost")
            serving += ("--tls-cert", identity.cert, "--tls-key", identity.key)
            trusting = ("-ca", ca.file)
        self.tunnel: Tunnel = self.stage.tunnel(
            self.pingpong.port,
            self.echo.port,
            proxy_options=(*serving, *setup.proxy),
            entry_options=(*trusting, *setup.entry),
            exit_options=(*trusting, *setup.exit),
        )
        self.pingpong.open(self.tunnel.port(0))
        assert_echo(self.tunnel.port(1))
        self.measure(USUAL)  # warms up

    def measure(self, seconds: float) -> Measured:
        """The session's round trips for so many seconds."""
        self.pingpong.begin()
        gevent.sleep(seconds)  # the length of the measurement, not a wait for anything
        return self.pingpong.end()

    def withstand(
        self, driver: Driver, *, seconds: float = 3.0, bounds: Bounds | None = None, **arguments: Any
    ) -> dict[str, Any]:
        """Run an attack, and fail unless the others stay within the bounds; what the driver returned.

        The driver gets the proxy's `port` unless `arguments` name another, and the `seconds`.
        """
        for _ in range(ATTEMPTS):
            outcome = self.attack(driver, seconds, bounds or Bounds(), arguments)
            if not outcome.complaints:
                break
        print(outcome)
        assert not outcome.complaints, str(outcome)
        return outcome.counts

    def attack(self, driver: Driver, seconds: float, bounds: Bounds, arguments: dict[str, Any]) -> Outcome:
        """Run an attack: what it did, and the bounds that were missed."""
        before = self.measure(USUAL)
        memory = self._memory()
        peak = dict(memory)
        self.pingpong.begin()
        process = _start(driver, {"port": self.tunnel.proxy.port, "seconds": seconds, **arguments})
        load = OtherLoad(lambda: [process.pid, *self._pids()])
        while process.poll() is None:
            gevent.sleep(0.2)
            load.look()
            peak = {name: max(size, peak[name]) for name, size in self._memory().items()}
        during = self.pingpong.end()
        bounds = bounds.on(load.factor())
        said = process.communicate()[0]
        growth = {name: size - memory[name] for name, size in peak.items()}
        outcome = Outcome(json.loads(said or "{}"), before, during, growth)
        if process.returncode:
            outcome.complaints.append(f"the driver ended with status {process.returncode}")
        outcome.complaints += self._missed(outcome, bounds)
        return outcome

    def _missed(self, outcome: Outcome, bounds: Bounds) -> list[str]:
        during, allowed = outcome.during, outcome.before.p99 * bounds.times + bounds.noise
        complaints = []
        if during.longest > bounds.longest:
            complaints.append(f"the session stood still for {during.longest * 1000:.0f} ms")
        if during.p99 > allowed:
            complaints.append(f"p99 was {during.p99 * 1000:.1f} ms, allowed are {allowed * 1000:.1f} ms")
        for name, growth in outcome.growth.items():
            if growth > bounds.growth:
                complaints.append(f"the memory of {name} grew by {growth / MIB:.1f} MiB")
        if not self._has_recovered(bounds, allowed):
            complaints.append(f"the session had not recovered {RECOVERY:g} s after the attack")
        return complaints

    def _has_recovered(self, bounds: Bounds, p99: float) -> bool:
        """Whether a new session opens and the old one is as fast as before, in time."""
        until = time.monotonic() + RECOVERY
        try:
            assert_echo(self.tunnel.port(1), RECOVERY)
        except (OSError, EOFError):
            return False
        while True:
            after = self.measure(USUAL / 3)
            if after.p99 <= p99 and after.longest <= bounds.longest:
                return True
            if time.monotonic() > until:
                return False

    def _pids(self) -> list[int]:
        programs = self.tunnel.processes
        workers = [pid for program in programs for pid in program.children()]
        return [self.pingpong.pid, *(program.pid for program in programs), *workers]

    def _memory(self) -> dict[str, int]:
        """Bytes of each program; a worker may just have been replaced."""

        def sizes() -> dict[str, int] | None:
            try:
                return {process.name: process.memory() for process in self.tunnel.processes}
            except (FileNotFoundError, ProcessLookupError):
                return None

        return poll(sizes, 5, "the processes stay long enough to be measured") or {}


def _start(driver: Driver, arguments: dict[str, Any]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.hostile.drivers", driver.__module__, driver.__qualname__]
    return subprocess.Popen([*command, json.dumps(arguments)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
