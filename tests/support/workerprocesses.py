"""Processes of which each is one worker, or many agents."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tests.support.processes import HubbleProcess, ProxyProcess
from tests.support.stage import Stage


def _run_module(process: HubbleProcess, module: str) -> None:
    """Has a process run a module of the tests in place of a program in bin/."""
    process.argv[:2] = [sys.executable, "-m", f"tests.support.{module}"]


class WorkerProcess(ProxyProcess):
    """One worker on a port of its own; those that share a runtime directory are one proxy.

    With a `node`, its machine's name, it is one of the cluster whose Redis server has the URL `cluster`.
    """

    def __init__(self, directory: Path, runtime: Path, name: str, cluster: str = "", node: str = "") -> None:
        options = ["--cluster", cluster, "--node", node] if cluster else []
        super().__init__(directory, *options, str(runtime), name=name)
        _run_module(self, "oneworker")


class AgentsProcess(HubbleProcess):
    """Many agents: `agents` are the arguments of each."""

    def __init__(self, directory: Path, name: str, agents: Sequence[dict[str, Any]]) -> None:
        super().__init__("hubble-agent", name, [json.dumps(agents)], directory)
        _run_module(self, "manyagents")
        self.count = len(agents)

    def wait_registered(self, within: float = 30.0) -> None:
        """Returns when all of them are registered."""
        self.log.wait_for("registered as", times=self.count, within=within)


def start_workers(stage: Stage, runtime: Path, count: int, cluster: str = "", node: str = "") -> list[WorkerProcess]:
    """As many workers of one proxy, or of one of its machines."""
    runtime.mkdir(mode=0o700)
    names = [f"{node}worker-{number}" for number in range(count)]
    workers = [WorkerProcess(stage.directory, runtime, name, cluster, node) for name in names]
    for worker in workers:
        stage.processes.append(worker)
        stage.add_placeholder(worker)
        worker.start()
    return workers


def start_agents(stage: Stage, name: str, agents: Iterable[dict[str, Any]]) -> AgentsProcess:
    """One process of them, all registered."""
    process = AgentsProcess(stage.directory, name, list(agents))
    stage.processes.append(process)
    process.start()
    process.wait_registered()
    return process
