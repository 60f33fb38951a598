"""Memory (PSS) with no session, with 200 idle ones, and after a load; new processes each round."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.chains import HUBBLE, SOCAT, Chain, hubble, socat
from benchmarks.figures import Figure
from benchmarks.lab import Lab

LIMIT = 180
SESSIONS, STREAMS = 200, 8
WARM_UP = 64 << 20  # bytes
ALL = f"{HUBBLE}, all three"


def run(lab: Lab) -> list[Figure]:
    figures = [Figure(case, "MB", (ALL, SOCAT)) for case in ("no session", f"{SESSIONS} sessions", "after load")]
    starters: tuple[Callable[[Lab, int], Chain], ...] = (socat, hubble)
    for start in lab.alternate(starters):
        with lab.apart() as fresh:
            _measure(fresh, start(fresh, fresh.service()), *figures)
    return figures


def _measure(lab: Lab, chain: Chain, idle: Figure, held: Figure, loaded: Figure) -> None:
    _note(idle, chain)
    with lab.apart() as holding:
        sessions = holding.begin("hold", chain.address, streams=SESSIONS)
        sessions.read_line()
        _note(held, chain)
        sessions.finish()
    lab.measure("bulk", chain.address, streams=STREAMS, seconds=lab.seconds, first=WARM_UP)
    _note(loaded, chain)


def _note(figure: Figure, chain: Chain) -> None:
    figure.add(SOCAT if chain.name == SOCAT else ALL, chain.memory() / 1e6)
    if chain.name == HUBBLE:
        for name, process in chain.processes.items():
            figure.add(f"{HUBBLE} {name}", process.memory() / 1e6)
