"""A long path: one stream over 100 ms of round trip and 400 Mbit/s, beside plain TCP over the same path.

The path is between the entry agent and the proxy: see `benchmarks.slowpath`, and `benchmarks.relay`, which replaces it
on machines without the necessary permissions. "At first" is a transfer on a new connection, while windows and credit
grow. "Once warm" is the next transfer on the same connection.
"""

from __future__ import annotations

from benchmarks import slowpath
from benchmarks.chains import HUBBLE, Chain
from benchmarks.figures import Demand, Figure
from benchmarks.lab import Lab
from benchmarks.load import Address
from benchmarks.tunnel import Tunnel

LIMIT = 240
DELAY, RATE = 0.05, 50e6  # seconds in each direction, bytes a second
AT_FIRST = 64 << 20  # bytes
PLAIN = "plain TCP"
PATH = ("--delay", str(DELAY), "--rate", str(RATE))


def run(lab: Lab) -> list[Figure]:
    if not slowpath.permitted():
        return _measure(lab, _over_relay(lab))
    with slowpath.network_namespace():
        return _measure(lab, _over_slow_packets(lab))


def _measure(lab: Lab, chains: list[Chain]) -> list[Figure]:
    first = Figure("at first", "MB/s", (HUBBLE, PLAIN))
    warm = Figure("once warm", "MB/s", (HUBBLE, PLAIN), Demand("ratio", ">=", 0.7))
    for chain in lab.alternate(chains):
        load = lab.measure("bulk", chain.address, streams=1, seconds=2 * lab.seconds, first=AT_FIRST)
        first.add(chain.name, load["first_rate"] / 1e6)
        warm.add(chain.name, load["rate"] / 1e6)
    return [first, warm]


def _over_slow_packets(lab: Lab) -> list[Chain]:
    lab.start_module("slowpath", *PATH).read_line()
    service = lab.service("--any")
    tunnel = Tunnel(lab)
    near = tunnel.start_proxy(f"{slowpath.NEAR}:0")
    far = near.replace(slowpath.NEAR, slowpath.FAR)
    return [Chain(PLAIN, [(slowpath.FAR, service)]), _hubble(tunnel, near, far, service)]


def _over_relay(lab: Lab) -> list[Chain]:
    service = lab.service()
    tunnel = Tunnel(lab)
    near = tunnel.start_proxy()
    host, port = _relayed(lab, int(near.rpartition(":")[2]))
    return [Chain(PLAIN, [_relayed(lab, service)]), _hubble(tunnel, near, f"{host}:{port}", service)]


def _relayed(lab: Lab, port: int) -> Address:
    return "127.0.0.1", int(lab.start_module("relay", "127.0.0.1", str(port), *PATH).read_line())


def _hubble(tunnel: Tunnel, near: str, far: str, service: int) -> Chain:
    tunnel.start_agent("exit", near)
    (port,) = tunnel.start_agent("entry", far, f"0:exit:127.0.0.1:{service}")
    return Chain(HUBBLE, [("127.0.0.1", port)], tunnel.processes)
