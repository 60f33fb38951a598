"""Throughput: 1, 8 and 64 streams upload for some seconds, once warm; and processor time for a gigabyte.

A stream is a connection over which one client process pushes blocks of 1 MiB to one service process that
counts them. MB/s are 10^6 bytes a second of all streams together. Processor time is that of the processes
in between: the proxy and both agents, or the three socats.
"""

from __future__ import annotations

from benchmarks.chains import HUBBLE, SOCAT, Chain, start_chains
from benchmarks.figures import Demand, Figure
from benchmarks.lab import Lab, result

LIMIT = 240
WARM_UP = 64 << 20  # bytes, of all streams together
DEMANDS = {1: Demand("ratio", ">=", 0.35), 8: None, 64: None}


def run(lab: Lab) -> list[Figure]:
    chains = start_chains(lab, lab.service())
    figures = []
    for streams, demand in DEMANDS.items():
        rate = Figure(f"{streams} at once", "MB/s", (HUBBLE, SOCAT), demand)
        cost = Figure(f"{streams} at once", "CPU s/GB", (HUBBLE, SOCAT))
        for chain in lab.alternate(chains):
            measured, cpu_seconds = upload(lab, chain, streams)
            rate.add(chain.name, measured["rate"] / 1e6)
            if chain.processes:
                cost.add(chain.name, cpu_seconds / (measured["bytes"] / 1e9))
        figures += [rate, cost]
    return figures


def upload(lab: Lab, chain: Chain, streams: int) -> tuple[dict[str, float], float]:
    """What the load measured, and the processor time that the chain took for it.

    The second clock is read while the connections are open: a socat's time is gone with the child that served one.
    """
    with lab.apart() as running:
        load = running.begin("bulk", chain.address, streams=streams, seconds=lab.seconds, first=WARM_UP)
        load.read_line()
        before = chain.cpu_seconds()
        return result(load), chain.cpu_seconds() - before
