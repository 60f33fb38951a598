"""Observing: a proxy with events to a file, metrics, and the dashboard open on 2,000 sessions, beside one without.

Each round starts new proxies with 2,000 idle sessions each. All their processes share one core, so that the cost of
monitoring reduces the throughput directly, and the scheduler's placement does not matter. The proxies take turns in
every order, and are paused during the other turns.

Throughput is measured with 8 streams, and processor time is the proxy's. Each turn is compared with the neighboring
turns of the other proxies; the result is the median of these ratios. The p99 latency covers all turns together. A
second unobserved proxy shows the effect of chance.

Then the event logger runs alone with 10,000 events per second, and the page alone in a headless Chromium, if installed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from itertools import permutations
from typing import Any

from benchmarks.figures import Demand, Figure, percentile
from benchmarks.lab import Lab, result
from benchmarks.load import Address
from benchmarks.processes import Process, one_core, preferred, same_layout
from benchmarks.tunnel import Tunnel

LIMIT = 600
SESSIONS, STREAMS, EVENTS = 2_000, 8, 10_000
REQUEST, WARM_UP = 1 << 20, 64 << 20  # bytes
TURNS = 7  # of either kind in each round
BACK = 0.3  # seconds of a turn in which it is done what was due while it was stopped; they are not measured
NAMES = PLAIN, OBSERVED, CHANCE = "Hubble", "Hubble, observed", "Hubble, again"
ORDERS = tuple(permutations(NAMES))
TOKEN = "a-token-for-the-benchmark"
LOOK = """
import sys, threading, time, urllib.request
def ask(path):
    request = urllib.request.Request(sys.argv[1] + path, headers={"Authorization": "Bearer " + sys.argv[2]})
    return urllib.request.urlopen(request)
def scrape():
    while True:
        ask("/metrics").read()
        time.sleep(5)
views = ask("/api/stream")
threading.Thread(target=scrape, daemon=True).start()
print("ready", flush=True)
while views.readline(): pass
"""


class Contender:
    """One of the proxies of a round, with its sessions, its load, and what watches it."""

    def __init__(self, lab: Lab, name: str) -> None:
        self.name = name
        with one_core(), preferred(), same_layout():
            tunnel = Tunnel(lab)
            address = _start(tunnel, lab.service(), _observing(lab) if name == OBSERVED else ())
            lab.begin("hold", address, streams=SESSIONS).read_line()
            self._load = lab.begin("turns", address, streams=STREAMS, size=REQUEST, first=WARM_UP)
            self._load.read_line()
        self._proxy: Process = tunnel.processes["proxy"]
        if name == OBSERVED:
            _look(lab, tunnel.ports["proxy"]["admin"])
        self._proxy.pause()

    def upload(self, seconds: float) -> tuple[float, float]:
        """Measure bytes per second, and the proxy's processor time for each byte, in one turn."""
        with self._proxy.running():
            self._ask("upload", BACK)
            before = self._proxy.cpu_seconds()
            turn = self._ask("upload", seconds)
            return turn["bytes"] / turn["seconds"], (self._proxy.cpu_seconds() - before) / turn["bytes"]

    def ping(self, seconds: float) -> list[float]:
        """Measure the round trip of each ping in one turn."""
        with self._proxy.running():
            self._ask("ping", BACK)
            durations: list[float] = self._ask("ping", seconds)["durations"]
            return durations

    def _ask(self, kind: str, seconds: float) -> Any:
        return json.loads(self._load.ask(f"{kind} {seconds}"))


def run(lab: Lab) -> list[Figure]:
    rates = _figures(f"{STREAMS} at once", "MB/s", Demand("ratio", ">=", 0.97))
    costs = _figures(f"{STREAMS} at once, proxy", "CPU s/GB", Demand("ratio", "<=", 1.03))
    p99 = _figures("ping-pong p99", "us", Demand("ratio", "<=", 1.03))
    pings: dict[str, list[float]] = {name: [] for name in NAMES}
    for number in range(lab.rounds):
        with lab.apart() as running:
            contenders = {name: Contender(running, name) for name in _order(number)}
            for turn in range(TURNS):
                for name in _order(turn):
                    rate, cost = contenders[name].upload(lab.seconds)
                    _add(rates, name, rate / 1e6)
                    _add(costs, name, cost * 1e9)
            for turn in range(TURNS):
                for name in _order(turn):
                    pings[name] += contenders[name].ping(lab.seconds)
    for name, durations in pings.items():
        _add(p99, name, percentile(durations, 0.99) * 1e6)
    return [*rates, *costs, *p99, *_alone(lab)]


def _figures(case: str, unit: str, demand: Demand) -> list[Figure]:
    """Return the figure of the observed proxy with its target, and the same for the effect of chance."""
    return [
        Figure(case, unit, (OBSERVED, PLAIN), demand, paired=True),
        Figure(f"{case}, by chance", unit, (CHANCE, PLAIN), paired=True),
    ]


def _add(figures: list[Figure], name: str, value: float) -> None:
    for figure in figures:
        if name in figure.compare:
            figure.add(name, value)


def _order(turn: int) -> tuple[str, ...]:
    """Return every order of turns."""
    return ORDERS[turn % len(ORDERS)]


def _start(tunnel: Tunnel, service: int, options: Sequence[str]) -> Address:
    """Start a proxy and its agents. Return the address at which clients reach the service."""
    proxy = tunnel.start_proxy("127.0.0.1:0", *options)
    tunnel.start_agent("exit", proxy)
    (port,) = tunnel.start_agent("entry", proxy, f"0:exit:127.0.0.1:{service}")
    return "127.0.0.1", port


def _observing(lab: Lab) -> tuple[str, ...]:
    token = lab.file("token", "")
    token.write_text(TOKEN)
    events = lab.file("events", ".jsonl")
    return ("--admin", "127.0.0.1:0", "--admin-token-file", str(token), "--events", str(events))


def _look(lab: Lab, admin: str) -> None:
    """Simulate an open dashboard, which reads the stream, and Prometheus, which reads the metrics every 5 s."""
    lab.start("page", [sys.executable, "-c", LOOK, f"http://{admin}", TOKEN], piped=True).read_line()


def _alone(lab: Lab) -> list[Figure]:
    lost = Figure(f"{EVENTS:,} events/s into a file, lost", "events", ("lost", "none"), Demand("difference", "<=", 0))
    usable = Figure(f"page with {SESSIONS:,} sessions", "ms", ("usable after", "limit"), Demand("ratio", "<=", 1))
    path = str(lab.file("alone", ".jsonl"))
    written = _measure(lab, "events", path=path, rate=EVENTS, seconds=lab.seconds)
    lost.add("lost", written["told"] - written["written"])
    lost.add("none", 0)
    for seconds in _measure(lab, "page", sessions=SESSIONS, loads=5 * lab.rounds)["seconds"]:
        usable.add("usable after", seconds * 1000)
        usable.add("limit", 300)
    return [lost, usable] if usable.samples else [lost]


def _measure(lab: Lab, kind: str, **settings: Any) -> Any:
    with lab.apart() as running:
        with preferred():
            load = running.start_module("watched", kind, json.dumps(settings))
        return result(load)
