"""Hubble's own processes, started through the command line as a user would."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import trustme

from benchmarks.lab import Lab
from benchmarks.processes import Process

ROOT = Path(__file__).resolve().parent.parent


class Tunnel:
    """A proxy and its agents, started one by one; their links may be TLS.

    By name: `processes`, and in `ports` what their ports files say.
    """

    def __init__(self, lab: Lab, *, tls: bool = False) -> None:
        self.lab = lab
        self.processes: dict[str, Process] = {}
        self.ports: dict[str, Any] = {}
        self.runtime = lab.file("proxy", ".run")
        self._scheme = "wss" if tls else "ws"
        self._certificate = _new_certificate(lab) if tls else None

    def start_proxy(self, listen: str = "127.0.0.1:0", *options: str) -> str:
        """Start the proxy, by default with one worker. Return its address, "host:port"."""
        if "--workers" not in options:
            options = ("--workers", "1", *options)
        if "--max-rate" not in options:
            options = ("--max-rate", "1000000", *options)  # sessions a second: it is to be measured, not bounded
        tls = ("--tls-cert", self._certificate) if self._certificate else ()
        runtime = ("--runtime-dir", str(self.runtime))
        return str(self._start("proxy", "-authgrant", "-listen", listen, *tls, *runtime, *options)["listen"])

    def start_agent(self, name: str, address: str, *rules: str) -> list[int]:
        """Start an agent that dials `address`, and wait until it is registered. Return its rules' ports."""
        trusted = ("-ca", self._certificate) if self._certificate else ()
        url = f"{self._scheme}://{address}"
        ports = self._start("agent", "-url", url, "-name", name, *trusted, *rules, known_as=name)
        agent = self.processes[name]
        agent.wait_until(lambda: "registered as" in agent.log.read_text() or None, "registered")
        return [rule["port"] for rule in ports["rules"]]

    def take_over(self, listen: str, *options: str) -> None:
        """Replace the proxy by another that takes over its listeners. Return once the old one has ended."""
        old = self.processes["proxy"]
        self.start_proxy(listen, "--takeover", *options)
        old.popen.wait(60)

    def kill_proxy(self) -> None:
        """Kill the proxy with SIGKILL, as a power failure would."""
        self.processes["proxy"].kill()

    def _start(self, program: str, *arguments: str, known_as: str | None = None) -> Any:
        name = known_as or program
        ports = self.lab.file(name, ".json")
        command = [
            sys.executable,
            str(ROOT / "bin" / f"hubble-{program}"),
            *arguments,
            "--ports-file",
            str(ports),
        ]
        process = self.processes[name] = self.lab.start(name, command)
        found = process.wait_until(lambda: json.loads(ports.read_text()) if ports.exists() else None, "listening")
        self.ports[name] = found
        return found


def _new_certificate(lab: Lab) -> str:
    """Write a file with a key and a self-signed certificate for this machine. Return its path."""
    file = lab.file("certificate", ".pem")
    trustme.CA().issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(file)
    return str(file)
