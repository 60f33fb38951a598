"""TLS: the cost of encrypted links compared with plain links, in processor time for a gigabyte and in latency.

The load is the upload of `throughput`, through a proxy and two agents with plain links and through others with TLS
links. Each byte is encrypted twice and decrypted twice. Processor time covers the proxy and both agents.
"""

from __future__ import annotations

from benchmarks.chains import HUBBLE, HUBBLE_TLS, hubble
from benchmarks.figures import Demand, Figure
from benchmarks.lab import Lab
from benchmarks.throughput import bulk

LIMIT = 240
STREAMS = (1, 8)


def run(lab: Lab) -> list[Figure]:
    service = lab.service()
    chains = [hubble(lab, service), hubble(lab, service, tls=True)]
    figures = []
    for streams in STREAMS:
        rate = Figure(f"{streams} at once", "MB/s", (HUBBLE_TLS, HUBBLE))
        cost = Figure(f"{streams} at once", "CPU s/GB", (HUBBLE_TLS, HUBBLE), Demand("ratio", "<=", 1.5))
        for chain in lab.alternate(chains):
            measured, cpu_seconds = bulk(lab, chain, streams)
            rate.add(chain.name, measured["rate"] / 1e6)
            cost.add(chain.name, cpu_seconds / (measured["bytes"] / 1e9))
        figures += [rate, cost]
    latency = Figure("one byte there and back", "us p50", (HUBBLE_TLS, HUBBLE))
    for chain in lab.alternate(chains):
        latency.add(chain.name, lab.measure("pingpong", chain.address, seconds=lab.seconds)["p50"] * 1e6)
    return [*figures, latency]
