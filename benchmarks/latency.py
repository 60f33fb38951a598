"""Latency: the round trip of one byte to an echo service, with every process on one core.

The processes are pinned, because the scheduler's placement makes unpinned latency bimodal on a machine with few cores.
"""

from __future__ import annotations

from benchmarks.chains import GEVENT, HUBBLE, SOCAT, start_chains
from benchmarks.figures import Demand, Figure
from benchmarks.lab import Lab
from benchmarks.processes import one_core

LIMIT = 90


def run(lab: Lab) -> list[Figure]:
    p50 = Figure("ping-pong p50", "us", (HUBBLE, GEVENT), Demand("ratio", "<=", 0.95), also=SOCAT)
    p99 = Figure("ping-pong p99", "us", (HUBBLE, GEVENT), Demand("ratio", "<=", 1.0), also=SOCAT)
    with one_core():
        for chain in lab.alternate(start_chains(lab, lab.service())):
            load = lab.measure("pingpong", chain.address, seconds=lab.seconds)
            p50.add(chain.name, load["p50"] * 1e6)
            p99.add(chain.name, load["p99"] * 1e6)
    return [p50, p99]
