"""Throughput: 1, 8 and 64 streams each way for some seconds, once warm; and processor time for a gigabyte.

A stream is a connection that transfers blocks of 1 MiB between one client process and one service process, which count
the bytes. MB/s are 10^6 bytes per second over all streams. Processor time covers the processes in between: the proxy
and both agents, or three relays. Ratios are to the gevent chain, and in parentheses to the socat chain.
"""

from __future__ import annotations

from benchmarks.chains import GEVENT, HUBBLE, SOCAT, Chain, start_chains
from benchmarks.figures import Demand, Figure
from benchmarks.lab import Lab, result

LIMIT = 480
WARM_UP = 64 << 20  # bytes, of all streams together
STREAMS = (1, 8, 64)


def run(lab: Lab) -> list[Figure]:
    chains = start_chains(lab, lab.service())
    figures = []
    for down in (False, True):
        for streams in STREAMS:
            case = f"{streams} {'to the entry' if down else 'to the exit'}"
            rate = Figure(case, "MB/s", (HUBBLE, GEVENT), Demand("ratio", ">=", 0.85), also=SOCAT)
            cost = Figure(case, "CPU s/GB", (HUBBLE, GEVENT), Demand("ratio", "<=", 1.3), also=SOCAT)
            for chain in lab.alternate(chains):
                measured, cpu_seconds = bulk(lab, chain, streams, down=down)
                rate.add(chain.name, measured["rate"] / 1e6)
                if chain.processes:
                    cost.add(chain.name, cpu_seconds / (measured["bytes"] / 1e9))
            figures += [rate, cost]
    return figures


def bulk(lab: Lab, chain: Chain, streams: int, *, down: bool = False) -> tuple[dict[str, float], float]:
    """What the load measured, and the processor time that the chain took for it.

    The second clock is read while the connections are open: a socat's time is gone with the child that served one.
    """
    with lab.apart() as running:
        load = running.begin("bulk", chain.address, streams=streams, seconds=lab.seconds, first=WARM_UP, down=down)
        load.read_line()
        before = chain.cpu_seconds()
        return result(load), chain.cpu_seconds() - before
