"""Every greenlet and task that must not end is struck by what a bad day brings, and seen to go on."""

from __future__ import annotations

import ast
import asyncio
import errno
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gevent
import pytest

import hubble
from hubble.agent import agent, keeper, pending
from hubble.agent.agent import Agent
from hubble.agent.listeners import tcp
from hubble.base import keepalive
from hubble.base import metrics as base_metrics
from hubble.directory.redis import RedisDirectory
from hubble.directory.sqlite import SQLiteDirectory
from hubble.events import feed, webhook
from hubble.events.spool import Spool
from hubble.policy import GrantAll
from hubble.proxy import lease, proxy
from hubble.proxy.gateways import balance
from hubble.proxy.proxy import Proxy
from hubble.proxy.sessions import registry
from hubble.proxy.watch import history
from hubble.supervisor import supervisor, takeover
from hubble.supervisor.channel import Reload
from hubble.supervisor.process import Program
from hubble.transport.listen import open_listener
from hubble.worker import worker
from tests.support.samples import EVENTS
from tests.support.waiting import poll

STRIKES = 2
ERRORS: dict[str, Callable[[], Exception]] = {
    **{
        errno.errorcode[number]: lambda number=number: OSError(number, os.strerror(number))  # type: ignore[misc]
        for number in (errno.EMFILE, errno.ENOSPC, errno.EIO)
    },
    "MemoryError": MemoryError,
    "RuntimeError": lambda: RuntimeError("a mistake"),
}


class Struck:
    """In place of `owner.name`: raises at the first STRIKES calls, and counts those that come after."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, error: Callable[[], Exception]) -> None:
        self.calls = 0
        self._error = error
        self._original = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *given, **named: self(*given, **named))

    def __call__(self, *given: Any, **named: Any) -> Any:
        self.calls += 1
        if self.calls <= STRIKES:
            raise self._error()
        return self._original(*given, **named)

    def went_on(self) -> bool:
        return self.calls > STRIKES


@contextmanager
def running_proxy(tmp_path: Path) -> Iterator[None]:
    running = Proxy("127.0.0.1:0", runtime_dir=tmp_path)
    running.start()
    try:
        yield
    finally:
        running.stop()


@contextmanager
def balancing(tmp_path: Path) -> Iterator[None]:
    load: Any = SimpleNamespace(excess=lambda: 0, set=lambda connections: None, withdraw=lambda: None)
    running = Proxy("127.0.0.1:0", runtime_dir=tmp_path, load=load)
    running.start()
    try:
        yield
    finally:
        running.stop()


@contextmanager
def working(tmp_path: Path) -> Iterator[None]:
    """A worker's work, with a proxy that only waits."""
    ended = gevent.event.Event()
    one = worker._Worker.__new__(worker._Worker)
    one._drain = None
    one._proxy = SimpleNamespace(wait=ended.wait)  # type: ignore[assignment]
    one._channel = worker.Channel.__new__(worker.Channel)
    greenlet = gevent.spawn(one.work)
    try:
        yield
    finally:
        ended.set()
        greenlet.get(timeout=5)


@contextmanager
def running_agent(tmp_path: Path) -> Iterator[None]:
    running = Agent("ws://127.0.0.1:1", "name", ["0:exit:127.0.0.1:1"])
    running.start()
    running.serve_metrics(open_listener("127.0.0.1", 0))
    try:
        yield
    finally:
        running.stop()


@contextmanager
def feeding(tmp_path: Path) -> Iterator[None]:
    one = feed.Feed(SimpleNamespace(log=lambda event: None))
    one.put(EVENTS[0])
    try:
        yield
    finally:
        one.close(0.1)


@contextmanager
def spooling(tmp_path: Path) -> Iterator[None]:
    spool = Spool(tmp_path / "spool")
    spool.add(b'{"events": []}')
    logger = webhook.WebhookLogger("http://127.0.0.1:1/", spool=spool, retry=0.001)
    try:
        yield
    finally:
        logger.close()


@contextmanager
def following(tmp_path: Path) -> Iterator[None]:
    directory = RedisDirectory("redis://127.0.0.1:1/0")
    try:
        yield
    finally:
        directory.close()


Running = Callable[[Path], AbstractContextManager[None]]
GREENLETS: dict[str, tuple[Running, Any, str]] = {
    "the lease": (running_proxy, SQLiteDirectory, "renew"),
    "tidying": (running_proxy, lease, "remove_dead"),
    "the policy": (running_proxy, GrantAll, "reload_if_changed"),
    "balance": (balancing, balance.Balance, "rebalance"),
    "history": (running_proxy, history.History, "sample"),
    "expiry": (running_proxy, registry.SessionRegistry, "expire"),
    "the proxy's lag": (running_proxy, history.History, "_record_lag"),
    "heartbeat": (working, worker, "Beat"),
    "heeding": (working, worker.Channel, "receive"),
    "the agent's link": (running_agent, keeper.Keeper, "_try_all"),
    "deadlines": (running_agent, Agent, "_connections"),
    "an entry's rule": (running_agent, tcp.TCPListener, "serve"),
    "opening sessions": (running_agent, pending.PendingConnections, "run"),
    "the agent's lag": (running_agent, base_metrics.Durations, "add"),
    "event feed": (feeding, feed.Feed, "_take"),
    "event spool": (spooling, Spool, "oldest"),
    "following Redis": (following, RedisDirectory, "_follow_once"),
}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in (
        (keepalive, "RETRY_FIRST"), (keepalive, "RETRY_MOST"), (lease, "RENEW_INTERVAL"), (proxy, "POLICY_INTERVAL"),
        (balance, "INTERVAL"), (base_metrics, "LAG_INTERVAL"), (registry, "EXPIRY_INTERVAL"), (worker, "BEAT_INTERVAL"),
        (agent, "TICK"),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, 0.005)
    monkeypatch.setattr(history, "INTERVAL", 0.01)
    monkeypatch.setattr(worker.Channel, "send", lambda self, message: None)
    monkeypatch.setattr(worker.Channel, "receive", lambda self: gevent.sleep(0.01) or Reload())
    monkeypatch.setattr(worker._Worker, "_reload", lambda self: None)
    monkeypatch.setattr(gevent, "signal_handler", lambda *arguments: None)  # this process keeps its own


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("name", GREENLETS)
def test_a_greenlet_goes_on(
    name: str, error: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, quick: None
) -> None:
    running, owner, method = GREENLETS[name]
    struck = Struck(monkeypatch, owner, method, ERRORS[error])
    with running(tmp_path):
        poll(struck.went_on, 5, f"{name} goes on after {error}")


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize(("owner", "method"), [(supervisor, "WorkerProcess"), (supervisor.Supervisor, "_monitor")])
def test_the_supervisor_replaces_workers(
    owner: Any, method: str, error: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(supervisor.Supervisor, "_not_booted", lambda self, error: None)
    struck = Struck(monkeypatch, owner, method, ERRORS[error])
    listener = open_listener("127.0.0.1", 0)
    one = supervisor.Supervisor(
        Program(["sleep", "60"]), 1, takeover.Handover("", listener, 0), tmp_path / "control.sock",
        patience=supervisor.Patience(restart_first=0.001, restart_most=0.002),
    )  # fmt: skip

    async def keep() -> None:
        one._ending, one._booting = asyncio.Event(), set()
        keeper = asyncio.create_task(one._keep(0))
        deadline = time.monotonic() + 10
        while not struck.went_on():
            assert not keeper.done(), keeper.exception()
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
        keeper.cancel()
        await asyncio.gather(keeper, return_exceptions=True)

    try:
        asyncio.run(keep())
    finally:
        for process in one._workers.values():
            process.kill()
        listener.close()


@pytest.mark.parametrize("error", ERRORS)
def test_a_takeover_can_be_tried_again(error: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    struck = Struck(monkeypatch, takeover.Offer, "_hand_over", ERRORS[error])
    monkeypatch.setattr(takeover, "PAUSE", 0.005)
    listener = open_listener("127.0.0.1", 0)

    async def offer() -> None:
        path = tmp_path / "control.sock"
        async with takeover.Offer(path, takeover.Handover("", listener, 0), lambda: None):
            deadline = time.monotonic() + 10
            while not struck.went_on():
                assert time.monotonic() < deadline
                with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as successor:
                    successor.connect(str(path))
                await asyncio.sleep(0.01)

    asyncio.run(offer())
    listener.close()


def endless(function: ast.FunctionDef) -> bool:
    """Whether a function is written to go on for ever."""
    return any(
        isinstance(node, ast.While) and isinstance(node.test, ast.Constant) and node.test.value
        and not any(isinstance(inner, ast.Return | ast.Break) for inner in ast.walk(node))
        for node in ast.walk(function)
    )  # fmt: skip


def spawned(tree: ast.Module) -> Iterator[str]:
    """The names of functions and methods that a module gives to gevent itself."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or not node.args:
            continue
        if node.func.attr in ("spawn", "spawn_later"):
            work = node.args[node.func.attr == "spawn_later"]
            if isinstance(work, ast.Attribute | ast.Name):
                yield work.attr if isinstance(work, ast.Attribute) else work.id


@pytest.mark.parametrize("path", sorted(Path(hubble.__file__).parent.rglob("*.py")), ids=lambda path: path.stem)
def test_no_endless_function_runs_without_a_keeper(path: Path) -> None:
    """One that is to end with its link or its session is written so that it can."""
    tree = ast.parse(path.read_text())
    loops = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and endless(node)}
    per_session = {"_read_socket", "_write_socket"}
    assert not loops & set(spawned(tree)) - per_session
