"""Sharing a link: one byte there and back, alone and beside a session that uploads on the same link.

The two go to services of their own, so that what is measured is the way. The other chains stand beside it
as a measure of what a busy machine alone does to a ping-pong.
"""

from __future__ import annotations

from benchmarks.chains import HUBBLE, Chain, start_chains
from benchmarks.figures import Demand, Figure
from benchmarks.lab import Lab

LIMIT = 180
WARM_UP = 64 << 20  # bytes
ALONE, BESIDE = "alone", "beside bulk"
MILLISECONDS = Demand("difference", "<=", 5)


def run(lab: Lab) -> list[Figure]:
    chains = start_chains(lab, lab.service(), lab.service())
    p99 = {
        chain.name: Figure(f"p99, {chain.name}", "ms", (BESIDE, ALONE), MILLISECONDS if chain.name == HUBBLE else None)
        for chain in chains
    }
    for chain in lab.alternate(chains):
        p99[chain.name].add(ALONE, _ping(lab, chain))
        with lab.apart() as flooding:
            flood = flooding.begin("flood", chain.addresses[1], first=WARM_UP)
            flood.read_line()
            p99[chain.name].add(BESIDE, _ping(lab, chain))
            flood.finish()
    return list(p99.values())


def _ping(lab: Lab, chain: Chain) -> float:
    return lab.measure("pingpong", chain.address, seconds=lab.seconds)["p99"] * 1e3
