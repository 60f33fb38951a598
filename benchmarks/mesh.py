"""Mesh: processor time for a gigabyte of a session that crosses from one worker to another, beside one within a worker.

The load is an upload over one warm connection. Processor time covers all processes in between: both agents, and one or
two workers.
"""

from __future__ import annotations

from benchmarks.chains import Chain
from benchmarks.figures import Demand, Figure
from benchmarks.lab import Lab, result
from benchmarks.processes import Process
from benchmarks.tunnel import Tunnel

LIMIT = 120
WARM_UP = 64 << 20  # bytes
WORKERS = ("worker", "other worker")
WITHIN, ACROSS = "within a worker", "across the mesh"


def run(lab: Lab) -> list[Figure]:
    service = lab.service()
    runtime = lab.scratch / "run"
    runtime.mkdir(mode=0o700)
    one, two = (lab.start_module("worker", str(runtime)) for _ in range(2))
    here, there = one.read_line(), two.read_line()
    chains = [
        _chain(lab, WITHIN, here, here, {"worker": one}, service),
        _chain(lab, ACROSS, here, there, {"worker": one, "other worker": two}, service),
    ]
    rate = Figure("1 session", "MB/s", (ACROSS, WITHIN))
    cost = Figure("1 session, all", "CPU s/GB", (ACROSS, WITHIN), Demand("ratio", "<=", 1.4))
    workers = Figure("1 session, workers", "CPU s/GB", (ACROSS, WITHIN))
    for chain in lab.alternate(chains):
        measured, in_all, in_workers = _upload(lab, chain)
        gigabytes = measured["bytes"] / 1e9
        rate.add(chain.name, measured["rate"] / 1e6)
        cost.add(chain.name, in_all / gigabytes)
        workers.add(chain.name, in_workers / gigabytes)
    return [rate, cost, workers]


def _chain(lab: Lab, name: str, entry_at: str, exit_at: str, workers: dict[str, Process], service: int) -> Chain:
    tunnel = Tunnel(lab)
    exit_name = f"exit {name}"
    tunnel.start_agent(exit_name, exit_at)
    (port,) = tunnel.start_agent(f"entry {name}", entry_at, f"0:{exit_name}:127.0.0.1:{service}")
    return Chain(name, [("127.0.0.1", port)], {**tunnel.processes, **workers})


def _upload(lab: Lab, chain: Chain) -> tuple[dict[str, float], float, float]:
    """What the load measured, and the processor time that all, and that the workers, took for it."""
    workers = [chain.processes[name] for name in WORKERS if name in chain.processes]
    with lab.apart() as running:
        load = running.begin("bulk", chain.address, streams=1, seconds=lab.seconds, first=WARM_UP)
        load.read_line()
        before, workers_before = chain.cpu_seconds(), sum(worker.cpu_seconds() for worker in workers)
        measured = result(load)
        return (
            measured,
            chain.cpu_seconds() - before,
            sum(worker.cpu_seconds() for worker in workers) - workers_before,
        )
