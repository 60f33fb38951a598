"""Sharing a link: the round trip of one byte, alone and beside a session that uploads on the same link.

The two sessions use separate services, so that only the path is measured. The other chains show the effect of a busy
machine on the round trip.
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
