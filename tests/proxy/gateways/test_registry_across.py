"""Names that are one truth among workers: two or three proxies in this process share a runtime directory."""

from __future__ import annotations

import dataclasses
import sqlite3
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import gevent
import pytest

from hubble.agent.agent import Agent
from hubble.agent.options import AgentOptions
from hubble.directory import LocalDirectory, Registration, sqlite
from hubble.directory import Worker as DirectoryWorker
from hubble.directory.steady import SteadyDirectory
from hubble.proxy import lease
from hubble.proxy.gateways.gateway import Gateway
from hubble.proxy.gateways.registry import Gateways, NameTaken
from hubble.proxy.proxy import Proxy
from hubble.transport.link import Keepalive, Link
from tests.support.services import Service, echo
from tests.support.sockets import assert_echo, connect, echoed
from tests.support.waiting import poll

RENEWAL = 0.1
QUICK = AgentOptions(retry_first=0.05, retry_most=0.2, retry_most_waiting=0.2)


class Worker:
    def __init__(self, runtime: Path) -> None:
        self.proxy = Proxy("127.0.0.1:0", runtime_dir=runtime)
        _, port = self.proxy.start()
        self.url = f"ws://127.0.0.1:{port}"

    @property
    def id(self) -> str:
        return self.proxy.me.id

    @property
    def gateways(self) -> Gateways:
        return self.proxy.gateways

    @property
    def directory(self) -> SteadyDirectory:
        directory = self.proxy._directory
        assert isinstance(directory, SteadyDirectory)
        return directory

    def hang(self) -> None:
        """Give no sign of life in the directory until `wake`, as a stopped process would."""
        self.directory.renew = lambda worker: True  # type: ignore[method-assign]

    def wake(self) -> None:
        del self.directory.renew


class Site:
    """Workers and agents, all ended together."""

    def __init__(self, runtime: Path) -> None:
        self.runtime = runtime
        self.workers: list[Worker] = []
        self.agents: list[Agent] = []

    def worker(self) -> Worker:
        self.workers.append(Worker(self.runtime))
        return self.workers[-1]

    def agent(self, worker: Worker, name: str, *rules: str, options: AgentOptions = QUICK) -> Agent:
        """An agent that is registered."""
        agent = self.unregistered(worker, name, *rules, options=options)
        poll(lambda: worker.gateways.get(name) is not None, 5, f"{name} is registered")
        return agent

    def unregistered(self, worker: Worker, name: str, *rules: str, options: AgentOptions = QUICK) -> Agent:
        agent = Agent(worker.url, name, rules, options=options)
        self.agents.append(agent)
        agent.start()
        return agent

    def close(self) -> None:
        for agent in self.agents:
            agent.stop()
        for worker in self.workers:
            worker.proxy.stop()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(lease, "RENEW_INTERVAL", RENEWAL)
    site = Site(tmp_path)
    yield site
    site.close()
    assert not list(tmp_path.glob("*.sock"))


@pytest.fixture
def service() -> Iterator[Service]:
    service = Service(echo)
    yield service
    service.close()


def rule_port(agent: Agent) -> int:
    return agent.listening[0][2]


def holders(site: Site, name: str) -> list[Worker]:
    """The workers that believe to have the gateway."""
    return [worker for worker in site.workers if worker.gateways.get(name) is not None]


def eventually(condition: Callable[[], object], what: str) -> None:
    poll(condition, 8, what)


def test_a_session_between_agents_at_different_workers(site: Site, service: Service) -> None:
    one, two = site.worker(), site.worker()
    site.agent(one, "exit")
    entry = site.agent(two, "entry", f"0:exit:127.0.0.1:{service.port}")
    assert_echo(rule_port(entry))
    assert not service.failures


def test_a_name_that_is_taken_at_another_worker_is_refused(site: Site) -> None:
    one, two = site.worker(), site.worker()
    site.agent(one, "name")
    options = dataclasses.replace(QUICK, exit_on_failure=True)
    impostor = site.unregistered(two, "name", options=options)
    with pytest.raises(Exception, match="taken by another agent"):
        impostor.wait()
    assert holders(site, "name") == [one]


def test_of_two_agents_that_want_a_name_at_once_one_gets_it(site: Site) -> None:
    workers = [site.worker(), site.worker(), site.worker()]
    for number in range(5):
        for worker in workers:
            site.unregistered(worker, f"name {number}", options=dataclasses.replace(QUICK, retry_first=30))
    for number in range(5):
        eventually(lambda number=number: holders(site, f"name {number}"), "somebody has it")  # type: ignore[misc]
    gevent.sleep(2 * RENEWAL)  # nothing more may happen, which nothing can announce
    for number in range(5):
        (winner,) = holders(site, f"name {number}")
        found = winner.directory.find(f"name {number}")
        assert found is not None and found.worker == winner.id


def test_an_agents_own_return_at_another_worker_evicts_its_old_link(site: Site, service: Service) -> None:
    one, two = site.worker(), site.worker()
    agent = site.agent(one, "exit")
    entry = site.agent(one, "entry", f"0:exit:127.0.0.1:{service.port}")
    old = one.gateways.get("exit")
    assert old is not None
    with connect(rule_port(entry)) as sock:
        assert echoed(sock, b"before") == b"before"
        agent._keeper.targets = Agent(two.url, "exit")._keeper.targets
        agent._links.link.abort("moved by the test")  # type: ignore[union-attr]
        eventually(lambda: holders(site, "exit") == [two], "the agent is at the other worker")
        assert echoed(sock, b"after") == b"after"
    assert old.link.closed


@pytest.mark.parametrize("is_elsewhere", [False, True])
def test_a_session_waits_for_an_exit_that_is_about_to_return(
    site: Site, service: Service, monkeypatch: pytest.MonkeyPatch, is_elsewhere: bool
) -> None:
    monkeypatch.setattr("hubble.agent.links.SETTLING", 0.0)  # the entry would be patient itself
    one, two = site.worker(), site.worker()
    exit_agent = site.agent(one, "exit")
    entry = site.agent(two if is_elsewhere else one, "entry", f"0:exit:127.0.0.1:{service.port}")
    for _ in range(5):
        exit_agent._links.link.abort("lost by the test")  # type: ignore[union-attr]
        assert_echo(rule_port(entry))


def test_a_worker_that_hung_takes_its_gateways_up_again(site: Site, service: Service) -> None:
    one, two = site.worker(), site.worker()
    site.agent(one, "exit")
    entry = site.agent(two, "entry", f"0:exit:127.0.0.1:{service.port}")
    one.hang()
    two.directory.leave(one.id)
    assert two.directory.find("exit") is None
    one.wake()
    eventually(lambda: two.directory.find("exit"), "it is registered again")
    assert_echo(rule_port(entry))


def test_a_worker_that_hung_does_not_keep_a_name_that_moved(site: Site) -> None:
    one, two = site.worker(), site.worker()
    site.agent(one, "name")
    old = one.gateways.get("name")
    assert old is not None
    one.hang()
    two.directory.leave(one.id)
    site.agent(two, "name")
    one.wake()
    eventually(lambda: old.link.closed, "the old link is closed")
    assert holders(site, "name") == [two]


def test_an_eviction_that_never_arrived_is_made_good(site: Site) -> None:
    one, two = site.worker(), site.worker()
    site.agent(one, "name")
    old = one.gateways.get("name")
    held = two.directory.find("name")
    assert old is not None and held is not None
    assert two.directory.claim(Registration("name", two.id, held.epoch + 1, held.owner), replaces=held) is None
    eventually(lambda: old.link.closed, "the old link is closed")


def test_a_worker_that_hears_of_it_evicts_at_once(site: Site) -> None:
    """As the Redis directory tells it; SQLite's cannot."""
    one = site.worker()
    site.agent(one, "name")
    old = one.gateways.get("name")
    assert old is not None
    one.directory.on_taken(Registration("name", one.id, 1, ""))
    assert not old.link.closed
    one.directory.on_taken(Registration("name", "another worker", 1, ""))
    assert old.link.closed


def test_two_that_register_at_one_worker_at_once_are_told_apart() -> None:
    """Though the directory's answer to the first comes after its answers to the second would."""

    class Slow(LocalDirectory):
        delays = (0.2, 0.01, 0.01, 0.01)

        def claim(self, registration: Registration, replaces: Registration | None = None) -> Registration | None:
            holder = super().claim(registration, replaces)
            delay, *self.delays = self.delays  # type: ignore[assignment]
            gevent.sleep(delay)
            return holder

    class Alive:
        closed = False

        def probe(self, timeout: float) -> bool:
            return True

        def abort(self, why: str) -> None:
            self.closed = True

    gateways = Gateways(DirectoryWorker("one", ""), Slow())
    newcomers = [Gateway(cast("Link", Alive()), "name", True, bytes([number]) * 16, 1) for number in range(2)]
    first, second = (gevent.spawn(gateways.register, gateway) for gateway in newcomers)
    gevent.joinall([first, second])
    assert first.successful()
    assert isinstance(second.exception, NameTaken)
    assert gateways.get("name") is newcomers[0] and not newcomers[0].link.closed


def test_the_worker_that_finds_a_stale_entry_removes_it(
    site: Site, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The directory keeps others waiting, as one in Redis does: the answer of the other worker comes in the hub."""
    one, two = site.worker(), site.worker()
    release = two.directory.release

    def slow_release(registration: Registration) -> None:
        gevent.sleep(0.01)
        release(registration)

    monkeypatch.setattr(two.directory, "release", slow_release)
    stale = Registration("exit", one.id, 1, "owner")
    assert two.directory.claim(stale) is None
    one.hang()  # or it would notice itself
    entry = site.agent(two, "entry", f"0:exit:127.0.0.1:{service.port}")
    with pytest.raises((ConnectionResetError, EOFError)):
        assert_echo(rule_port(entry))
    assert two.directory.find("exit") is None
    site.agent(two, "exit")
    assert_echo(rule_port(entry))


def test_a_deleted_directory_fills_itself_again(site: Site, service: Service) -> None:
    one, two = site.worker(), site.worker()
    site.agent(one, "exit")
    entry = site.agent(two, "entry", f"0:exit:127.0.0.1:{service.port}")
    for file in site.runtime.glob("directory.sqlite*"):
        file.unlink()
    eventually(lambda: _names(site) == {"entry", "exit"}, "both are registered again")
    eventually(lambda: one.directory.workers() == two.directory.workers(), "both workers are there")
    assert_echo(rule_port(entry))


def _names(site: Site) -> set[str]:
    try:
        with sqlite3.connect(site.runtime / "directory.sqlite") as database:
            return {name for (name,) in database.execute("SELECT name FROM registrations")}
    except sqlite3.OperationalError:
        return set()


def test_a_directory_out_of_order_serves_from_memory_and_says_so(
    site: Site, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT", 0.05)
    one = site.worker()
    site.agent(one, "exit")
    entry = site.agent(one, "entry", f"0:exit:127.0.0.1:{service.port}")
    blocker = sqlite3.connect(site.runtime / "directory.sqlite", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    eventually(lambda: one.proxy.trouble(), "the trouble is noticed")
    site.agent(one, "new")
    with pytest.raises(urllib.error.HTTPError) as answer:
        urllib.request.urlopen(one.url.replace("ws://", "http://") + "/readyz", timeout=5)
    assert (answer.value.code, answer.value.read()) == (503, b"the directory is unavailable\n")
    assert_echo(rule_port(entry))
    blocker.execute("ROLLBACK")
    eventually(lambda: not one.proxy.trouble(), "all is well again")
    with urllib.request.urlopen(one.url.replace("ws://", "http://") + "/readyz", timeout=5) as fine:
        assert fine.status == 200
    eventually(lambda: one.directory.find("new") is not None, "the new name is written")


def test_a_drained_workers_agents_move_before_they_let_go(site: Site, service: Service) -> None:
    one, two = site.worker(), site.worker()
    exit_agent = site.agent(one, "exit")
    entry = site.agent(two, "entry", f"0:exit:127.0.0.1:{service.port}")
    with connect(rule_port(entry)) as sock:
        assert echoed(sock, b"before") == b"before"
        exit_agent._keeper.targets = Agent(two.url, "exit")._keeper.targets
        draining = gevent.spawn(one.proxy.drain, 10)
        eventually(lambda: two.gateways.get("exit"), "the agent has moved")
        assert echoed(sock, b"after") == b"after"
        draining.get(timeout=5)
    assert holders(site, "exit") == [two]
    assert one.id not in [worker.id for worker in two.directory.workers()]


def test_a_gateway_that_leaves_is_gone_everywhere(site: Site) -> None:
    one, two = site.worker(), site.worker()
    agent = site.agent(one, "name")
    assert two.directory.find("name") is not None
    agent.stop()
    eventually(lambda: two.directory.find("name") is None, "the name is free")


def test_the_links_of_dead_workers_leave_no_descriptors(site: Site, service: Service) -> None:
    two = site.worker()
    entry = site.agent(two, "entry", f"0:exit:127.0.0.1:{service.port}")
    before = None
    for _ in range(4):
        one = site.worker()
        exit_agent = site.agent(one, "exit", options=dataclasses.replace(QUICK, keepalive=Keepalive(1, 2)))
        assert_echo(rule_port(entry))
        exit_agent.stop()
        one.proxy.stop()
        eventually(lambda: not two.proxy.mesh._links, "the link has ended")  # type: ignore[union-attr]
        count = len(list(Path("/proc/self/fd").iterdir()))
        before = before or count
    assert before is not None and count <= before + 2
