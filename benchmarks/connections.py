"""New connections per second, 1 and 32 at a time: open, echo one byte, close. Also their processor time."""

from __future__ import annotations

from benchmarks.chains import GEVENT, HUBBLE, SOCAT, start_chains
from benchmarks.figures import Demand, Figure
from benchmarks.lab import Lab

LIMIT = 180
DEMANDS = {1: 1.2, 32: 1.1}


def run(lab: Lab) -> list[Figure]:
    chains = start_chains(lab, lab.service())
    figures = []
    for at_once, least in DEMANDS.items():
        rate = Figure(
            f"{at_once} at once", "conn/s", (HUBBLE, GEVENT), Demand("ratio", ">=", least), also=SOCAT
        )  # fmt: skip
        cost = Figure(f"{at_once} at once", "CPU ms each", (HUBBLE, GEVENT))
        for chain in lab.alternate(chains):
            before = chain.cpu_seconds()
            load = lab.measure("connections", chain.address, at_once=at_once, seconds=lab.seconds)
            rate.add(chain.name, load["rate"])
            if chain.processes and chain.name != SOCAT:  # a socat's time is gone with the child that served one
                cost.add(chain.name, 1000 * (chain.cpu_seconds() - before) / load["made"])
        figures += [rate, cost]
    return figures
