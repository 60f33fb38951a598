"""Several machines with a Redis server between them, as processes of this one."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest

from tests.support.conversation import Conversation
from tests.support.processes import AgentProcess, ProxyProcess
from tests.support.redisserver import RedisServer
from tests.support.scale import MB
from tests.support.services import Exchange, Service, echo
from tests.support.sockets import assert_echo
from tests.support.stage import Stage
from tests.support.traffic import Progress, exchange
from tests.support.waiting import poll

LONGEST_PAUSE = 3.0


class Nodes:
    """Machines of one worker each, which know of each other through Redis."""

    def __init__(self, stage: Stage, redis: RedisServer, directory: Path) -> None:
        self._stage = stage
        self._secret = directory / "cluster.secret"
        self._secret.write_text("what only the machines of this cluster know\n")
        self._secret.chmod(0o600)
        self._url = directory / "cluster.url"
        self._url.write_text(redis.url)
        self._url.chmod(0o600)

    def start(self, name: str, **settings: str) -> ProxyProcess:
        options = {
            "cluster": f"@file:{self._url}",
            "node-name": name,
            "advertise": "127.0.0.1",
            "cluster-secret-file": str(self._secret),
            **settings,
        }
        return self._stage.proxy(*(f"--{key}={value}" for key, value in options.items()), name=name)


@pytest.fixture
def redis(stage: Stage, tmp_path: Path) -> RedisServer:
    return stage.add(RedisServer(tmp_path, password="not-to-be-seen"))


@pytest.fixture
def nodes(stage: Stage, redis: RedisServer, tmp_path: Path) -> Iterator[Nodes]:
    yield Nodes(stage, redis, tmp_path)
    for process in stage.processes:
        assert "not-to-be-seen" not in process.log.text
        assert "what only the machines" not in process.log.text


def readiness(proxy: ProxyProcess) -> tuple[int, str]:
    """The status and the body of /readyz."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{proxy.port}/readyz", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def wait_ready(*proxies: ProxyProcess) -> None:
    poll(lambda: all(readiness(proxy)[0] == 200 for proxy in proxies), 10, "the proxies are ready")


def pair(stage: Stage, entry_at: str, exit_at: str, port: int, name: str = "exit") -> tuple[AgentProcess, AgentProcess]:
    """An entry agent with a rule that leads to an exit agent called `name`."""
    exit_agent = stage.agent(exit_at, name)
    return stage.agent(entry_at, f"{name}-entry", f"0:{name}:127.0.0.1:{port}"), exit_agent


def refused(port: int) -> bool:
    """Whether a new session is refused, rather than carried."""
    try:
        assert_echo(port)
    except (ConnectionResetError, EOFError):
        return True
    return False


def test_a_session_crosses_from_one_machine_to_another(stage: Stage, nodes: Nodes) -> None:
    one, two, three = (nodes.start(name) for name in ("one", "two", "three"))
    service = stage.add(Exchange())
    entry, _ = pair(stage, two.url, one.url, service.port)
    gevent.joinall([gevent.spawn(exchange, entry.port(), number, 3 * MB) for number in range(3)], raise_error=True)
    service.changes.wait_until(lambda: service.completed == 3, 10, "the service has completed them all")
    assert not service.failures
    wait_ready(one, two, three)


def test_a_name_is_one_agents_on_all_machines(stage: Stage, nodes: Nodes) -> None:
    one, two = nodes.start("one"), nodes.start("two")
    stage.agent(one.url, "exit")
    impostor = stage.agent(two.url, "exit", registered=False, log_name="impostor")
    impostor.log.wait_for("taken by another agent")


def test_a_drained_machine_costs_a_session_less_than_three_seconds(stage: Stage, nodes: Nodes) -> None:
    """Both agents move to the third, one after the other."""
    one, two, three = (nodes.start(name) for name in ("one", "two", "three"))
    three.kill()  # so that no agent begins there
    service = stage.add(Service(echo))
    exit_agent = stage.agent(two.url, "exit", "-url", three.url)
    entry = stage.agent(one.url, "entry", "-url", three.url, f"0:exit:127.0.0.1:{service.port}")
    conversations = [Conversation(entry.port()) for _ in range(5)]
    three.start()
    wait_ready(three)
    for node, agent in ((two, exit_agent), (one, entry)):
        mark = agent.log.mark()
        assert node.stop(within=40) == 0
        agent.wait_registered(after=mark)
        for conversation in conversations:
            conversation.goes_on()
    for conversation in conversations:
        conversation.end()
    pauses = [conversation.longest_pause for conversation in conversations]
    print("longest pauses:", *(f"{pause:.2f} s" for pause in pauses))
    assert max(pauses) < LONGEST_PAUSE


def test_sessions_and_known_gateways_do_not_need_the_directory(stage: Stage, nodes: Nodes, redis: RedisServer) -> None:
    one, two = nodes.start("one"), nodes.start("two")
    service = stage.add(Service(echo))
    entry, _ = pair(stage, two.url, one.url, service.port)
    conversation = Conversation(entry.port())
    redis.kill()
    for proxy in (one, two):
        proxy.log.wait_for("the directory at .* is unreachable")
        assert readiness(proxy) == (503, "the directory is unreachable\n")
        with urllib.request.urlopen(f"http://127.0.0.1:{proxy.port}/healthz", timeout=5) as answer:
            assert answer.status == 200
    assert_echo(entry.port())
    local, _ = pair(stage, two.url, two.url, service.port, "new")
    assert_echo(local.port())
    remote = stage.agent(one.url, "remote", f"0:new:127.0.0.1:{service.port}")
    assert_echo(remote.port())  # the workers have told each other
    redis.start()
    wait_ready(one, two)
    late = nodes.start("three")
    newcomer = stage.agent(late.url, "newcomer", f"0:new:127.0.0.1:{service.port}")
    for _ in range(10):  # the server is told again bit by bit: nobody may notice
        assert_echo(entry.port())
        assert_echo(remote.port())
        gevent.sleep(0.2)
    poll(lambda: not refused(newcomer.port()), 10, "the new gateway is reached from a machine that has just come")
    conversation.end()


def test_a_machine_that_died_costs_one_failed_attempt(stage: Stage, nodes: Nodes) -> None:
    one, two = nodes.start("one"), nodes.start("two")
    service = stage.add(Service(echo))
    entry, exit_agent = pair(stage, two.url, one.url, service.port)
    assert_echo(entry.port())
    one.kill()
    mark = two.log.mark()
    for _ in range(3):
        assert refused(entry.port())
    assert len(two.log.matches("WARNING .* is unreachable: no process listens at its address", mark)) == 1
    exit_agent.kill()
    stage.agent(two.url, "exit", log_name="exit-again")
    assert_echo(entry.port())


def test_a_session_survives_the_death_of_a_machine(stage: Stage, nodes: Nodes) -> None:
    one, two, three = (nodes.start(name) for name in ("one", "two", "three"))
    three.kill()
    progress = Progress()
    service = stage.add(Exchange(progress))
    stage.agent(one.url, "exit", "-url", three.url)
    entry = stage.agent(two.url, "entry", f"0:exit:127.0.0.1:{service.port}")
    three.start()
    session = gevent.spawn(exchange, entry.port(), 1, 20 * MB, progress)
    progress.wait(2 * MB, within=20)
    one.kill()
    assert progress.total < 20 * MB, "the machine died too late to show anything"
    session.get()
    assert not service.failures


def test_who_does_not_know_the_secret_is_kept_out(stage: Stage, nodes: Nodes, tmp_path: Path) -> None:
    other = tmp_path / "other.secret"
    other.write_text("what nobody in this cluster has ever heard of")
    one, two = nodes.start("one"), nodes.start("two", **{"cluster-secret-file": str(other)})
    service = stage.add(Service(echo))
    entry, _ = pair(stage, two.url, one.url, service.port)
    assert refused(entry.port())
    two.log.wait_for("does not know the cluster's secret")
    honest = stage.agent(one.url, "honest", f"0:exit:127.0.0.1:{service.port}")
    assert_echo(honest.port())  # the stranger has driven nobody out of the directory
