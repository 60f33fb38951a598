"""Idle: the proxy's memory and processor time with 5,000 idle agents, and their return after it is killed.

Memory (PSS) is the proxy's growth through the agents. Processor time is measured over half a minute without traffic, in
which every agent is pinged. Then the proxy is killed and restarted.
"""

from __future__ import annotations

import resource
import time

from benchmarks.figures import Demand, Figure
from benchmarks.lab import Lab, result
from benchmarks.processes import Process
from benchmarks.tunnel import Tunnel

LIMIT = 240
AGENTS = 5000
REST = 30.0  # seconds
OPTIONS = ("--max-registrations", "1000000")  # they all come from one address
HUBBLE, ALLOWED = "Hubble", "allowed"


def run(lab: Lab) -> list[Figure]:
    memory = _figure("memory for each agent", "KiB", 60)
    cpu = _figure("processor at rest", "% of a core", 5)
    back = _figure("all back after a kill", "s", 60)
    storm = Figure("most registrations in a second", "1/s", (HUBBLE, HUBBLE))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # inherited by the proxy
    try:
        _measure(lab, memory, cpu, back, storm)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return [memory, cpu, back, storm]


def _figure(case: str, unit: str, allowed: float) -> Figure:
    figure = Figure(case, unit, (HUBBLE, ALLOWED), Demand("ratio", "<=", 1.0))
    figure.add(ALLOWED, allowed)
    return figure


def _measure(lab: Lab, memory: Figure, cpu: Figure, back: Figure, storm: Figure) -> None:
    tunnel = Tunnel(lab)
    address = tunnel.start_proxy("127.0.0.1:0", *OPTIONS)
    proxy = tunnel.processes["proxy"]
    before = proxy.memory()
    crowd = lab.start_module("idlers", address, str(AGENTS))
    result(crowd)
    memory.add(HUBBLE, (proxy.memory() - before) / AGENTS / 1024)
    cpu.add(HUBBLE, _busy(proxy))
    tunnel.kill_proxy()
    started = time.monotonic()
    tunnel.start_proxy(address, *OPTIONS)
    returned = result(crowd)
    back.add(HUBBLE, time.monotonic() - started)
    storm.add(HUBBLE, returned["most_in_a_second"])


def _busy(process: Process) -> float:
    """Return the share of a core that the idle proxy uses, in percent."""
    used, started = process.cpu_seconds(), time.monotonic()
    time.sleep(REST)
    return 100 * (process.cpu_seconds() - used) / (time.monotonic() - started)
