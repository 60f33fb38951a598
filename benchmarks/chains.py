"""The chains of processes from a client to the services, which the benchmarks compare."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass, field

from benchmarks.lab import Lab
from benchmarks.load import Address
from benchmarks.processes import BenchmarkError, Process
from benchmarks.tunnel import Tunnel

DIRECT, SOCAT, GEVENT, HUBBLE, HUBBLE_TLS = "no tunnel", "socat chain", "gevent chain", "Hubble", "Hubble, TLS"
RELAYS = 3  # what carries a byte in Hubble's place: entry, proxy, exit
LISTENING = re.compile(r"listening on .*:(\d+)")


@dataclass
class Chain:
    """One chain to the services: the address of each service for clients, and the processes in between."""

    name: str
    addresses: list[Address]
    processes: dict[str, Process] = field(default_factory=dict)

    @property
    def address(self) -> Address:
        """The address at which clients reach the first service."""
        return self.addresses[0]

    def cpu_seconds(self) -> float:
        return sum(process.cpu_seconds() for process in self.processes.values())

    def memory(self) -> int:
        """Return the memory (PSS) of all processes of the chain, in bytes."""
        return sum(process.memory() for process in self.processes.values())


def start_chains(lab: Lab, *services: int) -> list[Chain]:
    """Start all chains to the services that listen on these local ports."""
    return [direct(*services), socat(lab, *services), gevent(lab, *services), hubble(lab, *services)]


def direct(*services: int) -> Chain:
    return Chain(DIRECT, [("127.0.0.1", port) for port in services])


def socat(lab: Lab, *services: int) -> Chain:
    """Start three socat relays in a row for each service."""
    if shutil.which("socat") is None:
        raise BenchmarkError("needs the program socat to measure beside (on Debian: apt-get install socat)")
    chain = Chain(SOCAT, [])
    for number, port in enumerate(services, 1):
        for relay in range(RELAYS):
            name = f"socat{number}.{relay + 1}"
            chain.processes[name] = process = lab.start(name, _socat_command(port))
            port = process.wait_until(lambda: _socat_port(process), "listening")  # noqa: B023 (called here and now)
        chain.addresses.append(("127.0.0.1", port))
    return chain


def gevent(lab: Lab, *services: int) -> Chain:
    """Start three `benchmarks.geventrelay` in a row for each service."""
    chain = Chain(GEVENT, [])
    for number, port in enumerate(services, 1):
        for relay in range(RELAYS):
            process = lab.start_module("geventrelay", "127.0.0.1", str(port))
            chain.processes[f"gevent{number}.{relay + 1}"] = process
            port = int(process.read_line())
        chain.addresses.append(("127.0.0.1", port))
    return chain


def hubble(lab: Lab, *services: int, tls: bool = False) -> Chain:
    """Start a proxy, an exit agent, and an entry agent with a rule for each service."""
    tunnel = Tunnel(lab, tls=tls)
    proxy = tunnel.start_proxy()
    tunnel.start_agent("exit", proxy)
    ports = tunnel.start_agent("entry", proxy, *(f"0:exit:127.0.0.1:{port}" for port in services))
    return Chain(HUBBLE_TLS if tls else HUBBLE, [("127.0.0.1", port) for port in ports], tunnel.processes)


def _socat_command(port: int) -> list[str]:
    listen = "TCP-LISTEN:0,bind=127.0.0.1,fork,reuseaddr,backlog=128"
    return ["socat", "-d", "-d", "-b", "131072", listen, f"TCP:127.0.0.1:{port}"]


def _socat_port(process: Process) -> int | None:
    found = LISTENING.search(process.log.read_text())
    return int(found[1]) if found else None
