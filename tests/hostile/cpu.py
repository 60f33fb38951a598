"""How much of the machine programs that are no part of a measurement took while it lasted."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

FEWEST = 0.1
"""The smallest share of the machine that is believed to be left; a smaller one says nothing."""


class OtherLoad:
    """Measures from its making on. `ours` gives the processes that are measured, of which some may end meanwhile."""

    def __init__(self, ours: Callable[[], Iterable[int]]) -> None:
        self._ours = ours
        self._total, self._busy = _machine()
        self._first = _each(ours())
        self._last = dict(self._first)

    def look(self) -> None:
        """Note what our processes have used so far: a process that ends later is counted up to here."""
        self._last.update(_each(self._ours()))

    def factor(self) -> float:
        """Return how many times slower than alone our processes may have been: 1 on a quiet machine, at most 10."""
        self.look()
        total, busy = _machine()
        total, busy = total - self._total, busy - self._busy
        ours = sum(ticks - self._first.get(pid, 0) for pid, ticks in self._last.items())
        others = max(0, busy - ours) / max(1, total)
        return 1 / max(FEWEST, 1 - others)


def _machine() -> tuple[int, int]:
    """All ticks of all processors, and those of processes (interrupts are nobody's) or taken by other machines."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    user, nice, system, _idle, _iowait, _irq, _softirq, steal = fields
    return sum(fields), user + nice + system + steal


def _each(pids: Iterable[int]) -> dict[int, int]:
    """The ticks that each process has used."""
    ticks = {}
    for pid in {os.getpid(), *pids}:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        ticks[pid] = sum(int(field) for field in fields[11:13])
    return ticks
