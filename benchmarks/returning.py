"""Returning: 10,000 agents lose their proxy at the same time: the time until all return, and a session's latency.

The session repeatedly echoes one byte. The latency covers each round trip that begins between the session's own return
and the return of the last agent.
"""

from __future__ import annotations

import resource
import select
import time

from benchmarks.figures import Demand, Figure, percentile
from benchmarks.lab import Lab, result
from benchmarks.load import READY, echoing
from benchmarks.processes import Process
from benchmarks.tunnel import Tunnel

LIMIT = 240
AGENTS = 10_000
OPTIONS = ("--max-registrations", "1000000", "--workers", "2")  # they all come from one address
HUBBLE, ALLOWED = "Hubble", "allowed"


def run(lab: Lab) -> list[Figure]:
    back = _figure("all back after a kill", "s", 20)
    p99 = _figure("round trips meanwhile, p99", "ms", 100)
    longest = Figure("round trips meanwhile, longest", "ms", (HUBBLE, HUBBLE))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # inherited by the proxy
    try:
        _measure(lab, back, p99, longest)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return [back, p99, longest]


def _figure(case: str, unit: str, allowed: float) -> Figure:
    figure = Figure(case, unit, (HUBBLE, ALLOWED), Demand("ratio", "<=", 1.0))
    figure.add(ALLOWED, allowed)
    return figure


def _measure(lab: Lab, back: Figure, p99: Figure, longest: Figure) -> None:
    tunnel = Tunnel(lab)
    address = tunnel.start_proxy("127.0.0.1:0", *OPTIONS)
    service = lab.service()
    tunnel.start_agent("exit", address)
    (port,) = tunnel.start_agent("entry", address, f"0:exit:127.0.0.1:{service}")
    crowd = lab.start_module("idlers", address, str(AGENTS))
    result(crowd)
    session = echoing(("127.0.0.1", port))
    tunnel.kill_proxy()
    started = time.monotonic()
    tunnel.start_proxy(address, *OPTIONS)
    session.sendall(b"x")
    session.recv(1)
    durations: list[float] = []
    while not _is_ready(crowd):
        before = time.perf_counter()
        session.sendall(b"x")
        session.recv(1)
        durations.append(time.perf_counter() - before)
        time.sleep(0.002)
    back.add(HUBBLE, time.monotonic() - started)
    p99.add(HUBBLE, 1000 * percentile(durations, 0.99))
    longest.add(HUBBLE, 1000 * max(durations))


def _is_ready(crowd: Process) -> bool:
    """Return whether the crowd has printed the line."""
    assert crowd.popen.stdout is not None
    if not select.select([crowd.popen.stdout], [], [], 0)[0]:
        return False
    if crowd.read_line() != READY:
        raise crowd.failure("said something else")
    crowd.read_line()
    return True
