"""Agents in this process, and what waits for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hubble.agent.agent import Agent
from hubble.agent.options import AgentOptions
from tests.support.waiting import poll

PATIENCE = 20.0
QUICK: dict[str, Any] = {"retry_first": 0.05, "retry_most": 0.2, "retry_most_waiting": 0.1}
"""Options that spare tests the waiting."""


class Started:
    """An agent that has been started, with the local ports of its rules."""

    def __init__(
        self, url: str, name: str, *rules: str, options: dict[str, Any] | None = None, **settings: Any
    ) -> None:
        self.agent = Agent(url, name, rules, options=AgentOptions(**QUICK | (options or {})), **settings)
        self.ports = [port for _, _, port in self.agent.start()]

    @property
    def port(self) -> int:
        return self.ports[0]

    def wait_linked(self) -> None:
        """Returns when the proxy has accepted the agent."""
        links = self.agent._links
        poll(lambda: links.link, PATIENCE, f"{self.agent.name} has a link")

    def sessions(self) -> int:
        """How many sessions it has, as entry and as exit."""
        return len(self.agent._connections())


@contextmanager
def started(url: str, name: str, *rules: str, linked: bool = True, **settings: Any) -> Iterator[Started]:
    """A running agent, registered unless told otherwise."""
    running = Started(url, name, *rules, **settings)
    try:
        if linked:
            running.wait_linked()
        yield running
    finally:
        running.agent.stop()
