"""What a test sets up: a proxy, agents, relays between them, services behind them; ended and examined afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from tests.support.processes import START, TRACEBACK, AgentProcess, Process, ProxyProcess
from tests.support.relay import Address, Relay


class Closable(Protocol):
    def close(self) -> None: ...


C = TypeVar("C", bound=Closable)


@dataclass
class Tunnel:
    """A proxy, an exit agent named `exit` and an entry agent named `entry`.

    With relays, the agents reach the proxy through `entry_relay` and `exit_relay`.
    """

    proxy: ProxyProcess
    entry: AgentProcess
    exit: AgentProcess
    entry_relay: Relay | None = None
    exit_relay: Relay | None = None

    def port(self, rule: int = 0) -> int:
        """Where the entry agent listens for its `rule`-th rule."""
        return self.entry.port(rule)

    @property
    def relays(self) -> tuple[Relay, Relay]:
        assert self.entry_relay is not None and self.exit_relay is not None
        return self.entry_relay, self.exit_relay

    @property
    def processes(self) -> tuple[Process, ...]:
        return (self.proxy, self.entry, self.exit)

    def marks(self) -> list[int]:
        return [self.entry.log.mark(), self.exit.log.mark()]

    def wait_registered(self, after: Sequence[int], within: float = START) -> None:
        """Returns when both agents have registered (again) since `after`, from `marks()`."""
        for agent, mark in zip((self.entry, self.exit), after, strict=True):
            agent.wait_registered(after=mark, within=within)


class Stage:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.processes: list[Process] = []
        self._closables: list[Closable] = []

    def add(self, closable: C) -> C:
        """Has `closable` closed at the end."""
        self._closables.append(closable)
        return closable

    def close(self, closable: Closable) -> None:
        """Closes now what would be closed at the end."""
        self._closables.remove(closable)
        closable.close()

    def relay(self, target: Address, *, delay: float = 0.0, rate: float | None = None) -> Relay:
        return self.add(Relay(target, delay=delay, rate=rate))

    def proxy(self, *options: str, name: str = "proxy") -> ProxyProcess:
        """A proxy that listens, in a runtime directory of its own.

        It grants everything, and has one worker, unless the options say otherwise.
        """
        for option, default in (
            ("-auth", ["-authgrant"]),
            ("--workers", ["--workers", "1"]),
            ("--runtime-dir", ["--runtime-dir", str(self.directory / f"run-{len(self.processes)}")]),
        ):
            if not any(option in given for given in options):
                options = (*default, *options)
        proxy = ProxyProcess(self.directory, *options, name=name)
        self.processes.append(proxy)
        self.add_placeholder(proxy)
        proxy.start()
        return proxy

    def agent(self, url: str, name: str, *arguments: str, registered: bool = True, log_name: str = "") -> AgentProcess:
        """An agent whose listeners are open and, unless told otherwise, that the proxy has accepted."""
        agent = AgentProcess(self.directory, url, name, *arguments, log_name=log_name)
        self.processes.append(agent)
        agent.start()
        if registered:
            agent.wait_registered()
        return agent

    def tunnel(
        self,
        *service_ports: int,
        relays: bool = False,
        delay: float = 0.0,
        rate: float | None = None,
        proxy_options: Sequence[str] = (),
        entry_options: Sequence[str] = (),
        exit_options: Sequence[str] = (),
        prefix: str = "",
    ) -> Tunnel:
        """A tunnel with one rule for each of `service_ports`. `delay` and `rate` are those of the entry's relay.

        `prefix` is put before its processes' names: a stage with several tunnels needs different ones.
        """
        proxy = self.proxy(*proxy_options, name=f"{prefix}proxy")
        entry_url = exit_url = proxy.url
        entry_relay = exit_relay = None
        if relays:
            entry_relay = self.relay(("127.0.0.1", proxy.port), delay=delay, rate=rate)
            exit_relay = self.relay(("127.0.0.1", proxy.port))
            entry_url, exit_url = proxy.url_at(entry_relay.port), proxy.url_at(exit_relay.port)
        rules = [f"0:exit:127.0.0.1:{port}" for port in service_ports]
        exit_agent = self.agent(exit_url, "exit", *exit_options, log_name=f"{prefix}exit")
        entry = self.agent(entry_url, "entry", *entry_options, *rules, log_name=f"{prefix}entry")
        return Tunnel(proxy, entry, exit_agent, entry_relay, exit_relay)

    def end(self) -> list[str]:
        """Ends everything in order; returns what a program did wrong on its way out, or before."""
        complaints = []
        for process in reversed(self.processes):
            if process.running and (status := process.stop()) != 0:
                complaints.append(f"{process.name} ended with status {status} on SIGTERM")
            if TRACEBACK in process.log.text:
                complaints.append(f"{process.name} logged a traceback:\n{_first_traceback(process.log.lines)}")
        for closable in reversed(self._closables):
            closable.close()
        return complaints

    def kill(self) -> None:
        """Leaves nothing behind, whatever happened."""
        for process in self.processes:
            process.kill()

    def add_placeholder(self, proxy: ProxyProcess) -> None:
        class Placeholder:
            def close(self) -> None:
                proxy.release()

        self.add(Placeholder())


def _first_traceback(lines: list[str]) -> str:
    first = next(number for number, line in enumerate(lines) if TRACEBACK in line)
    return "\n".join(lines[max(0, first - 1) : first + 40])
