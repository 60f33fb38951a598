"""Isolation: 50 sessions run while the reader of one more stalls, beside the same 50 without it.

Two tunnels take turns of some seconds. Each of the 50 sessions repeatedly uploads 64 KiB and waits for the answer. In
one tunnel another session first runs at full speed, so that its credit grows. Then the service stops reading it during
the measurement, while its client continues to send. The memory (PSS) of the proxy and of each agent may grow by this
session's credit, which is at most 16 MiB.
"""

from __future__ import annotations

from benchmarks.chains import Chain, hubble
from benchmarks.figures import Demand, Figure
from benchmarks.lab import Lab

LIMIT = 300
SESSIONS, SIZE = 50, 64 << 10
BEFORE_STALL = 128 << 20  # bytes
MAXIMUM_CREDIT = 16  # MiB
TURNS = 4  # in each round: what else the machine does comes and goes, and many short turns share it fairly
WITHOUT, WITH = "none stalled", "one stalled"


def run(lab: Lab) -> list[Figure]:
    service = lab.service()
    chains = {column: hubble(lab, service) for column in (WITHOUT, WITH)}
    for chain in chains.values():
        _load(lab, chain)  # memory that any load takes is taken now
    before = {column: _memory(chain) for column, chain in chains.items()}
    lab.begin("stall", chains[WITH].address, first=BEFORE_STALL).read_line()

    rate = Figure(f"{SESSIONS} sessions", "MB/s", (WITH, WITHOUT), Demand("ratio", ">=", 1 / 1.2))
    p99 = Figure(f"{SESSIONS} sessions, p99", "ms", (WITH, WITHOUT), Demand("ratio", "<=", 1.2))
    for column in lab.alternate([WITHOUT, WITH] * TURNS):
        load = _load(lab, chains[column])
        rate.add(column, load["rate"] / 1e6)
        p99.add(column, load["p99"] * 1e3)
    return [rate, p99, *_growth(chains, before)]


def _load(lab: Lab, chain: Chain) -> dict[str, float]:
    return lab.measure("requests", chain.address, streams=SESSIONS, seconds=lab.seconds, size=SIZE)


def _memory(chain: Chain) -> dict[str, float]:
    return {name: process.memory() / 2**20 for name, process in chain.processes.items()}


def _growth(chains: dict[str, Chain], before: dict[str, dict[str, float]]) -> list[Figure]:
    """Record the growth of each program's memory, in MiB, with and without the stalled session."""
    figures: dict[str, Figure] = {}
    for column, chain in chains.items():
        for name, memory in _memory(chain).items():
            bound = Demand("difference", "<=", MAXIMUM_CREDIT)
            figure = figures.setdefault(name, Figure(f"growth, {name}", "MiB", (WITH, WITHOUT), bound))
            figure.add(column, memory - before[column][name])
    return list(figures.values())
