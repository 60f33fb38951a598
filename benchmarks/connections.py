"""New connections a second: opened, one byte to an echo and back, closed; 1 and 32 at once."""

from __future__ import annotations

from benchmarks.chains import HUBBLE, SOCAT, start_chains
from benchmarks.figures import Figure
from benchmarks.lab import Lab

LIMIT = 120


def run(lab: Lab) -> list[Figure]:
    chains = start_chains(lab, lab.service())
    figures = []
    for at_once in (1, 32):
        figure = Figure(f"{at_once} at once", "conn/s", (HUBBLE, SOCAT))
        for chain in lab.alternate(chains):
            load = lab.measure("connections", chain.address, at_once=at_once, seconds=lab.seconds)
            figure.add(chain.name, load["rate"])
        figures.append(figure)
    return figures
