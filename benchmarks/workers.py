"""Workers: how 1, 2 and 4 workers share the load, and how evenly 1,000 agents are distributed among them.

Uploads at once between 4 pairs of agents, once warm; processor time is that of the proxy, its supervisor included, and
of the agents. On a machine that has no cores to spare more workers are not faster: this shows what sharing costs. Then
1,000 idle agents; one worker is killed, and when it is back, they are to be even again.
"""

from __future__ import annotations

import json
import os
import signal
import time
import urllib.request
from collections.abc import Callable
from typing import Any

from benchmarks.chains import Chain
from benchmarks.figures import Demand, Figure
from benchmarks.lab import Lab, result
from benchmarks.processes import BenchmarkError
from benchmarks.tunnel import Tunnel

LIMIT = 300
COUNTS = (1, 2, 4)
PAIRS = 4
WARM_UP = 16 << 20  # bytes, of each pair
IDLE, TOLERANCE = 1000, 0.2
TOKEN = "a-token-for-the-benchmark"
SETTLE = 60.0  # seconds


def run(lab: Lab) -> list[Figure]:
    service = lab.service()
    chains = [_chain(lab, count, service) for count in COUNTS]
    names = chains[-1].name, chains[0].name
    rate = Figure(f"{PAIRS} at once", "MB/s", names)
    cost = Figure(f"{PAIRS} at once", "CPU s/GB", names)
    for chain in lab.alternate(chains):
        megabytes_a_second, cpu_seconds = _upload(lab, chain)
        rate.add(chain.name, megabytes_a_second)
        cost.add(chain.name, cpu_seconds)
    return [rate, cost, *_evenness(lab)]


def _upload(lab: Lab, chain: Chain) -> tuple[float, float]:
    """Measure MB/s of all pairs together, and the processor time for a gigabyte."""
    with lab.apart() as running:
        loads = [
            running.begin("bulk", address, streams=1, seconds=lab.seconds, first=WARM_UP) for address in chain.addresses
        ]
        for load in loads:
            load.read_line()
        before = chain.cpu_seconds()
        measured = [result(load) for load in loads]
        cpu_seconds = chain.cpu_seconds() - before
        return sum(each["rate"] for each in measured) / 1e6, cpu_seconds / sum(each["bytes"] for each in measured) * 1e9


def _chain(lab: Lab, count: int, service: int) -> Chain:
    tunnel = Tunnel(lab)
    proxy = tunnel.start_proxy("127.0.0.1:0", "--workers", str(count))
    ports = []
    for number in range(PAIRS):
        tunnel.start_agent(f"exit-{number}", proxy)
        ports += tunnel.start_agent(f"entry-{number}", proxy, f"0:exit-{number}:127.0.0.1:{service}")
    return Chain(f"{count} workers", [("127.0.0.1", port) for port in ports], tunnel.processes)


def _evenness(lab: Lab) -> list[Figure]:
    """Measure the largest deviation of a worker from its share: at first, and after a worker was killed."""
    figures = []
    with lab.apart() as running:
        tunnel = Tunnel(running)
        token = running.file("token", "")
        token.write_text(TOKEN)
        options = (
            "--workers",
            "4",
            "--max-registrations",
            "1000000",
            "--admin",
            ":0",
            "--admin-token-file",
            str(token),
        )
        proxy = tunnel.start_proxy("127.0.0.1:0", *options)
        result(running.start_module("idlers", proxy, str(IDLE)))
        admin = tunnel.ports["proxy"]["admin"]
        figures.append(_unevenness("furthest from its share, of 4 with 1,000 agents", _held(admin)))
        os.kill(_workers(admin)[0]["pid"], signal.SIGKILL)
        killed = time.monotonic()
        _wait(lambda: _furthest(_held(admin)) > TOLERANCE or len(_held(admin)) < 4, "a worker is missed")
        _wait(lambda: len(_held(admin)) == 4 and _furthest(_held(admin)) <= TOLERANCE, "even again")
        again = Figure("even again after one was killed", "s", ("after", "after"))
        again.add("after", time.monotonic() - killed)
    return [*figures, again]


def _unevenness(case: str, held: list[int]) -> Figure:
    figure = Figure(case, "%", ("off", "allowed"), Demand("ratio", "<=", 1))
    figure.add("off", 100 * _furthest(held))
    figure.add("allowed", 100 * TOLERANCE)
    return figure


def _furthest(held: list[int]) -> float:
    share = sum(held) / len(held)
    return max(abs(each - share) for each in held) / share if share else 1.0


def _held(admin: str) -> list[int]:
    """Return the number of agents of each worker."""
    return [worker["gateways"] for worker in _workers(admin)]


def _workers(admin: str) -> list[dict[str, Any]]:
    request = urllib.request.Request(f"http://{admin}/api/workers", headers={"Authorization": f"Bearer {TOKEN}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        found: list[dict[str, Any]] = json.load(answer)["items"]
    return found


def _wait(ready: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + SETTLE
    while not ready():
        if time.monotonic() > deadline:
            raise BenchmarkError(f"not {what} within {SETTLE:g} s")
        time.sleep(0.1)
