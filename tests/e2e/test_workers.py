"""A proxy of several workers, started as users start it."""

from __future__ import annotations

import random
import signal
from collections import Counter
from pathlib import Path

import gevent
import pytest

from hubble.admin.access import Access
from hubble.cli.admin_client import Client
from tests.support.certificates import Authority
from tests.support.conversation import Conversation
from tests.support.machines import Machine
from tests.support.scale import MB
from tests.support.services import Exchange, Service, echo
from tests.support.sockets import assert_echo
from tests.support.stage import Stage
from tests.support.traffic import Progress, exchange
from tests.support.waiting import poll
from tests.support.workerprocesses import start_agents

LONGEST_PAUSE = 3.0
AGENTS = 12
SETTLING, INTERVAL = 3.0, 0.3
PATIENCE = 10.0


def start_tunnel(stage: Stage, machine: Machine, service: int, agents: int = AGENTS) -> list[int]:
    """As many entry agents as exit agents, spread over the workers; the ports of the entries' rules."""
    start_agents(stage, "exits", [{"url": machine.url, "name": f"exit-{n}"} for n in range(agents)])
    entries = start_agents(
        stage,
        "entries",
        [
            {"url": machine.url, "name": f"entry-{n}", "rules": [f"0:exit-{n}:127.0.0.1:{service}"]}
            for n in range(agents)
        ],
    )
    return [entries.ports()[f"entry-{n}"][0] for n in range(agents)]


def test_sessions_survive_workers_that_are_killed(stage: Stage) -> None:
    progress = Progress()
    service = stage.add(Exchange(progress))
    machine = Machine(stage, "machine", 3)
    ports = start_tunnel(stage, machine, service.port)
    sessions = [gevent.spawn(exchange, port, number, 8 * MB, progress) for number, port in enumerate(ports)]
    for part in (1, 2):
        progress.wait(part * 20 * MB, within=60)
        machine.strike(signal.SIGKILL, random.Random(part))
        machine.proxy.log.wait_for("was killed by SIGKILL; restarting it", times=part)
    gevent.joinall(sessions, raise_error=True)
    assert not service.failures
    machine.wait_whole()
    assert_echo_everywhere(stage, machine)


@pytest.mark.waits
def test_new_sessions_wait_for_what_a_killed_worker_served(stage: Stage) -> None:
    """Sessions asked for in the first 3 s after a worker was killed open, wherever their entry and exit were."""
    service = stage.add(Service(echo))
    machine = Machine(stage, "machine", 2)
    ports = start_tunnel(stage, machine, service.port)
    for seed in (1, 2):
        machine.strike(signal.SIGKILL, random.Random(seed))
        asked = []
        for _ in range(int(SETTLING / INTERVAL)):
            asked += [gevent.spawn(assert_echo, port, PATIENCE) for port in ports]
            gevent.sleep(INTERVAL)  # the moments at which sessions are asked for, not a wait for anything
        gevent.joinall(asked, raise_error=True)
        machine.wait_whole()


@pytest.mark.waits
def test_sessions_survive_a_worker_that_hangs(stage: Stage) -> None:
    service = stage.add(Service(echo))
    machine = Machine(stage, "machine", 2)
    conversations = [Conversation(port) for port in start_tunnel(stage, machine, service.port)]
    machine.strike(signal.SIGSTOP, random.Random(1))
    machine.proxy.log.wait_for("hung: no heartbeat for 10 s; restarting it", within=30)
    for conversation in conversations:
        conversation.goes_on()
        conversation.end()
    machine.wait_whole()


def assert_echo_everywhere(stage: Stage, machine: Machine) -> None:
    """Newcomers find each other, whichever workers they come to."""
    service = stage.add(Service(echo))
    names = [f"late-{n}" for n in range(4)]
    rules = {name: [f"0:{other}:127.0.0.1:{service.port}" for other in names] for name in names}
    late = start_agents(stage, "late", [{"url": machine.url, "name": name, "rules": rules[name]} for name in names])
    for ports in late.ports().values():
        for port in ports:
            assert_echo(port)


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "TLS"])
def test_a_takeover_costs_a_session_less_than_three_seconds(stage: Stage, tmp_path: Path, encrypted: bool) -> None:
    ca = Authority(tmp_path)
    identity = ca.issue("127.0.0.1")
    serving = ["--tls-cert", identity.cert, "--tls-key", identity.key] if encrypted else []
    trusting = ["-ca", ca.file] if encrypted else []
    service = stage.add(Service(echo))
    machine = Machine(stage, "machine", 2, *serving)
    exit_agent = stage.agent(machine.url, "exit", *trusting)
    entry = stage.agent(machine.url, "entry", *trusting, f"0:exit:127.0.0.1:{service.port}")
    conversations = [Conversation(entry.port()) for _ in range(10)]
    for _ in range(2):
        machine.take_over()
        for conversation in conversations:
            conversation.goes_on()
    for conversation in conversations:
        conversation.end()
    pauses = [conversation.longest_pause for conversation in conversations]
    print("longest pauses:", *(f"{pause:.2f} s" for pause in pauses))
    assert max(pauses) < LONGEST_PAUSE
    for agent in (exit_agent, entry):
        assert not agent.log.matches("lost")  # make before break
        assert len(agent.log.matches("registered as")) >= 3


def test_a_reload_reaches_all_workers_and_harms_no_session(stage: Stage) -> None:
    service = stage.add(Service(echo))
    machine = Machine(stage, "machine", 2)
    conversations = [Conversation(port) for port in start_tunnel(stage, machine, service.port, 3)]
    machine.proxy.send(signal.SIGHUP)
    machine.proxy.log.wait_for("reloaded")
    for conversation in conversations:
        conversation.goes_on()
        conversation.end()
    assert len(machine.proxy.log.matches("reloaded")) == 1


def test_a_killed_supervisor_takes_its_workers_along(stage: Stage) -> None:
    """What starts it again finds the port free, and the sessions go on."""
    service = stage.add(Service(echo))
    machine = Machine(stage, "machine", 2)
    (port, *_) = start_tunnel(stage, machine, service.port, 1)
    conversation = Conversation(port)
    machine.proxy.send(signal.SIGKILL)
    machine.proxy.wait()
    machine.start()
    conversation.goes_on()
    conversation.end()


def test_an_orderly_end_leaves_nothing_behind(stage: Stage, tmp_path: Path) -> None:
    machine = Machine(stage, "machine", 2, "--admin", "127.0.0.1:0")
    assert (tmp_path / "machine.run").is_dir()
    machine.drain()
    assert not (tmp_path / "machine.run").exists()


def test_the_registrations_are_even_and_become_so_again(stage: Stage) -> None:
    """Within 20 %, also when a worker has died and come back."""
    machine = Machine(stage, "machine", 3, "--admin", "127.0.0.1:0", "--max-registrations", "100000")
    agents = 90
    start_agents(stage, "idle", [{"url": machine.url, "name": f"idle-{n}"} for n in range(agents)])
    client = Client(Access.read(stage.directory / "machine.run"))

    def is_even() -> bool:
        held = Counter({row["worker"]: row["gateways"] for row in client.get("workers")["items"]})
        even = agents / machine.count
        return len(held) == machine.count and all(0.8 * even <= each <= 1.2 * even for each in held.values())

    poll(is_even, 5, "the agents are spread evenly", every=0.1)
    machine.strike(signal.SIGKILL, random.Random(1))
    machine.proxy.log.wait_for("is serving")
    poll(is_even, 30, "the agents are spread evenly again", every=0.2)
