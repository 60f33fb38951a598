"""A proxy, agents and an echo service within the test's own process, and a logger that remembers events."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import gevent
from gevent import socket
from gevent.server import StreamServer

from hubble.admin.server import answer_peers
from hubble.agent.agent import Agent
from hubble.agent.options import AgentOptions
from hubble.events import Event
from hubble.policy import Authorizer
from hubble.proxy.proxy import Proxy

T = TypeVar("T")
E = TypeVar("E", bound=Event)


def eventually(ready: Callable[[], T], what: str, within: float = 10.0) -> T:
    """The first true value of `ready()`."""
    with gevent.Timeout(within, AssertionError(f"not within {within} s: {what}")):
        while not (value := ready()):
            gevent.sleep(0.01)
    return value


class Remembering:
    """An event logger that keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def log(self, event: Event) -> None:
        self.events.append(event)

    def all(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    def wait(self, kind: type[E], count: int = 1) -> E:
        """The `count`-th event of a kind, once there is one."""
        return eventually(lambda: self.all(kind)[count - 1 :], f"{count} x {kind.__name__} in {self.events}")[0]


class Tunnel:
    """A context with an echo service behind the agent `exit`, reached through a rule of the agent `entry`.

    Or with the proxy alone, if not `with_agents`.
    """

    def __init__(
        self,
        authorizer: Authorizer | None = None,
        runtime_dir: Path | None = None,
        *,
        with_agents: bool = True,
        **settings: Any,
    ) -> None:
        self._with_agents = with_agents
        self.proxy = Proxy("127.0.0.1:0", authorizer, runtime_dir=runtime_dir, **settings)
        self.logger = Remembering()
        answer_peers(self.proxy)
        self.proxy.watch.events.install(self.logger)
        self.agents: list[Agent] = []
        self.echo = StreamServer(("127.0.0.1", 0), _echo)
        self.port = 0
        self.url = ""

    def __enter__(self) -> Tunnel:
        self.echo.start()
        host, port = self.proxy.start()
        self.url = f"ws://{host}:{port}"
        if self._with_agents:
            self.agent("exit")
            self.port = self.rule(self.agent("entry", f"0:s3cret@exit:127.0.0.1:{self.echo.server_port}"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for agent in self.agents:
            agent.stop()
        self.proxy.stop()
        self.echo.stop()

    def agent(self, name: str, *rules: str, registered: bool = True, **settings: Any) -> Agent:
        """A further agent, once it is registered."""
        options = AgentOptions(retry_first=0.05, retry_most=0.2, retry_most_waiting=0.1)
        agent = Agent(self.url, name, rules, options=options, **settings)
        self.agents.append(agent)
        agent.start()
        if registered:
            eventually(lambda: self.proxy.gateways.get(name), f"{name} is registered")
        return agent

    def rule(self, agent: Agent) -> int:
        """The port of an agent's first rule."""
        return agent.listening[0][2]

    def connect(self) -> socket.socket:
        """A connection through the tunnel."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def open(self) -> socket.socket:
        """A connection through the tunnel that is known to work."""
        sock = self.connect()
        exchange(sock, b"hello")
        return sock


def exchange(sock: socket.socket, data: bytes) -> None:
    """Have `data` echoed."""
    sock.sendall(data)
    received = b""
    while len(received) < len(data):
        part = sock.recv(65536)
        assert part, "the stream has ended"
        received += part
    assert received == data


def finish(sock: socket.socket) -> None:
    """End the stream, and wait until the other side has."""
    sock.shutdown(socket.SHUT_WR)
    while sock.recv(65536):
        pass
    sock.close()


def _echo(sock: socket.socket, address: object) -> None:
    try:
        while data := sock.recv(65536):
            sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
    except OSError:
        pass
