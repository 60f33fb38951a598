"""Observing: a proxy with events to a file, metrics, and the dashboard open on 2,000 sessions, beside one without.

Both carry the same 2,000 idle sessions. Throughput is that of 8 streams; latency is a ping-pong's, unpinned. Then the
event logger alone, at 10,000 events a second, and the page alone, in a headless Chromium if there is one.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from benchmarks.chains import Chain
from benchmarks.figures import Demand, Figure
from benchmarks.lab import Lab, result
from benchmarks.throughput import upload
from benchmarks.tunnel import Tunnel

LIMIT = 400
SESSIONS, STREAMS, EVENTS = 2_000, 8, 10_000
PLAIN, OBSERVED = "Hubble", "Hubble, observed"
TOKEN = "a-token-for-the-benchmark"
READ_STREAM = """
import sys, urllib.request
request = urllib.request.Request(sys.argv[1], headers={"Authorization": "Bearer " + sys.argv[2]})
views = urllib.request.urlopen(request)
print("ready", flush=True)
while views.readline(): pass
"""


def run(lab: Lab) -> list[Figure]:
    compare = (OBSERVED, PLAIN)
    rate = Figure(f"{STREAMS} at once", "MB/s", compare, Demand("ratio", ">=", 0.97))
    p99 = Figure("ping-pong p99", "us", compare, Demand("ratio", "<=", 1.03))
    service = lab.service()
    chains = [_chain(lab, PLAIN, service), _chain(lab, OBSERVED, service)]
    for chain in chains:
        sessions = lab.begin("hold", chain.address, streams=SESSIONS)
        sessions.read_line()
    for chain in lab.alternate(chains):
        rate.add(chain.name, upload(lab, chain, STREAMS)[0]["rate"] / 1e6)
        p99.add(chain.name, lab.measure("pingpong", chain.address, seconds=lab.seconds)["p99"] * 1e6)
    return [rate, p99, *_alone(lab)]


def _chain(lab: Lab, name: str, service: int) -> Chain:
    tunnel = Tunnel(lab)
    proxy = tunnel.start_proxy("127.0.0.1:0", *(_watching(lab) if name == OBSERVED else ()))
    if name == OBSERVED:
        _watch(lab, tunnel.ports["proxy"]["admin"])
    tunnel.start_agent("exit", proxy)
    (port,) = tunnel.start_agent("entry", proxy, f"0:exit:127.0.0.1:{service}")
    return Chain(name, [("127.0.0.1", port)], tunnel.processes)


def _watching(lab: Lab) -> tuple[str, ...]:
    token = lab.file("token", "")
    token.write_text(TOKEN)
    events = lab.file("events", ".jsonl")
    return ("--admin", "127.0.0.1:0", "--admin-token-file", str(token), "--events", str(events))


def _watch(lab: Lab, address: str) -> None:
    """What a page that is open does: reads the stream."""
    command = [sys.executable, "-c", READ_STREAM, f"http://{address}/api/stream", TOKEN]
    lab.start("page", command, piped=True).read_line()


def _alone(lab: Lab) -> list[Figure]:
    lost = Figure(f"{EVENTS:,} events/s into a file, lost", "events", ("lost", "none"), Demand("difference", "<=", 0))
    usable = Figure(f"page with {SESSIONS:,} sessions", "ms", ("usable after", "limit"), Demand("ratio", "<=", 1))
    path = str(lab.file("alone", ".jsonl"))
    written = _measure(lab, "events", path=path, rate=EVENTS, seconds=lab.seconds)
    lost.add("lost", written["told"] - written["written"])
    lost.add("none", 0)
    for seconds in _measure(lab, "page", sessions=SESSIONS, loads=lab.rounds)["seconds"]:
        usable.add("usable after", seconds * 1000)
        usable.add("limit", 300)
    return [lost, usable] if usable.samples else [lost]


def _measure(lab: Lab, kind: str, **settings: Any) -> Any:
    with lab.apart() as running:
        return result(running.start_module("watched", kind, json.dumps(settings)))
