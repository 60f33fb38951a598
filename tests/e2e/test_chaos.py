"""Everything that can go wrong, at random, for a while: no session may notice, and nothing may be left behind.

Two machines of two workers each, a Redis server between them, twenty agents that know both machines, and a hundred
sessions that never stop talking. For as long as HUBBLE_CHAOS_SECONDS says; only by request, since it takes long.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import gevent
import pytest
import redis

from hubble.admin.access import Access
from hubble.cli.admin_client import Client
from tests.support.machines import Machine
from tests.support.redisserver import RedisServer
from tests.support.relay import Relay
from tests.support.services import Service, echo
from tests.support.sockets import connect, echoed
from tests.support.stage import Stage
from tests.support.traffic import Pattern
from tests.support.waiting import poll
from tests.support.workerprocesses import AgentsProcess, start_agents

SECONDS = float(os.environ.get("HUBBLE_CHAOS_SECONDS") or 0)
CALM = 60.0  # seconds that everything may take to be well again afterwards
WORKERS = 2  # of each machine
OWN_FILES = 40  # descriptors that a worker has for itself
OWN_GREENLETS = 30
PAIRS = 10
SESSIONS = 10  # of each entry agent
LARGEST = 24 * 1024
PATIENCE = 55.0  # a session that says nothing for longer is lost


class Talk:
    """A session that sends pieces of a pattern, and compares what comes back, until it is told to end."""

    def __init__(self, port: int, seed: int) -> None:
        self.carried = 0
        self.longest_pause = 0.0
        self._pattern = Pattern(seed)
        self._chance = random.Random(seed)
        self._ending = False
        self._greenlet = gevent.spawn(self._talk, port)

    def _talk(self, port: int) -> None:
        with connect(port, PATIENCE) as sock:
            while not self._ending:
                piece = self._pattern.cut(self.carried, self._chance.randrange(1, LARGEST))
                started = time.monotonic()
                self._pattern.check(self.carried, echoed(sock, piece))
                self.longest_pause = max(self.longest_pause, time.monotonic() - started)
                self.carried += len(piece)
                gevent.sleep(self._chance.uniform(0.05, 0.4))

    def check(self) -> None:
        """Raises what has gone wrong, if anything has."""
        if self._greenlet.ready():
            self._greenlet.get()

    def end(self) -> None:
        """Returns when the last answer has come."""
        self._ending = True
        self._greenlet.get(timeout=PATIENCE + 5)


class Chaos:
    """Blows to strike, each of which heals by itself, or is healed, within seconds."""

    def __init__(self, chance: random.Random, machines: list[Machine], redis: RedisServer) -> None:
        self._chance = chance
        self._machines = machines
        self._redis = redis
        self.relays: list[Relay] = []
        self.struck: dict[str, int] = {}

    def strike(self) -> None:
        blows: list[Callable[[], None]] = [
            self.kill_a_worker, self.kill_a_worker, self.stop_a_worker, self.hang_a_worker, self.cut_links,
            self.cut_links, self.reload, self.take_over, self.take_over, self.drain_a_machine, self.kill_redis,
            self.freeze_redis, self.kill_a_machine,
        ]  # fmt: skip
        blow = self._chance.choice(blows)
        self.struck[blow.__name__] = self.struck.get(blow.__name__, 0) + 1
        blow()

    def kill_a_worker(self) -> None:
        self._machine().strike(signal.SIGKILL, self._chance)

    def stop_a_worker(self) -> None:
        """It goes on as if nothing had been."""
        worker = self._machine().strike(signal.SIGSTOP, self._chance)
        self._wait(1, 5)
        if worker is not None:
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGCONT)

    def hang_a_worker(self) -> None:
        """Its supervisor ends it."""
        self._machine().strike(signal.SIGSTOP, self._chance)

    def reload(self) -> None:
        self._machine().proxy.send(signal.SIGHUP)

    def take_over(self) -> None:
        self._machine().take_over()

    def drain_a_machine(self) -> None:
        machine = self._machine()
        machine.drain()
        machine.start()

    def cut_links(self) -> None:
        self._chance.choice(self.relays).cut(self._chance.choice(("reset", "end")))

    def kill_redis(self) -> None:
        self._redis.kill()
        self._wait(0, 4)
        self._redis.start()

    def freeze_redis(self) -> None:
        self._redis.freeze()
        self._wait(0.5, 3)
        self._redis.thaw()

    def kill_a_machine(self) -> None:
        machine = self._machine()
        machine.kill()
        self._wait(0, 3)
        machine.start()

    def _machine(self) -> Machine:
        return self._chance.choice(self._machines)

    def _wait(self, least: float, most: float) -> None:
        gevent.sleep(self._chance.uniform(least, most))  # the length of an outage, not a wait for anything


@pytest.mark.skipif(not SECONDS, reason="say for how long: HUBBLE_CHAOS_SECONDS=120")
@pytest.mark.slow
@pytest.mark.waits
@pytest.mark.timeout(SECONDS + 4 * CALM)
def test_no_session_notices(stage: Stage, tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    server = stage.add(RedisServer(tmp_path))
    machines = [Machine(stage, node, WORKERS, *_options(tmp_path, server, node)) for node in ("here", "there")]
    service = stage.add(Service(echo))
    chaos = Chaos(chance, machines, server)
    chaos.relays = [stage.relay(("127.0.0.1", machine.port)) for machine in machines]
    entries, exits = _start_agents(stage, [f"ws://127.0.0.1:{relay.port}" for relay in chaos.relays], service.port)
    files = {process.name: process.open_files() for process in (entries, exits)}
    threads = {process.name: process.threads() for process in (entries, exits)}
    greenlets = {process.name: process.greenlets() for process in (entries, exits)}

    ports = [port for n in range(PAIRS) for port in entries.ports()[f"entry-{n}"]]
    talks = [Talk(port, number) for number, port in enumerate(ports)]
    poll(lambda: all(talk.carried for talk in talks), 20, "all sessions are established")
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        chaos.strike()
        for talk in talks:
            talk.check()
        gevent.sleep(chance.uniform(0, 2))  # the rhythm of the blows, not a wait for anything
    gevent.joinall([gevent.spawn(talk.end) for talk in talks], raise_error=True)
    print("struck:", chaos.struck, "carried:", sum(talk.carried for talk in talks) // 1000, "kB")
    print("longest pauses:", *(f"{pause:.1f}" for pause in sorted(talk.longest_pause for talk in talks)[-5:]))
    assert not service.failures

    agents = {f"{kind}-{n}" for kind in ("entry", "exit") for n in range(PAIRS)}
    for machine in machines:
        machine.wait_whole(CALM)
    poll(lambda: _registered(server) == agents, CALM, "the directory is right again", every=0.5)
    _nothing_is_left(machines, tmp_path, server)
    for process in (entries, exits):
        files_most, greenlets_most = files[process.name] + 4, greenlets[process.name] + 4
        poll(partial(_has_at_most, process.open_files, files_most), CALM, f"{process.name} has closed files")
        assert process.threads() <= threads[process.name] + 1
        poll(partial(_has_at_most, process.greenlets, greenlets_most), CALM, "greenlets have ended")
    _gateways_are_all_there_is(machines, len(agents))

    for process in (entries, exits):
        assert process.stop(within=20) == 0
    for machine in machines:
        machine.drain()
        assert not machine.runtime.exists()
    assert _keys(server) <= {"hubble:version"}


def _options(directory: Path, server: RedisServer, node: str) -> list[str]:
    secret = directory / "cluster.secret"
    if not secret.exists():
        secret.write_text("what only the machines of this cluster know\n")
        secret.chmod(0o600)
    return [
        *("--cluster", server.url, "--node-name", node, "--advertise", "127.0.0.1"),
        *("--cluster-secret-file", str(secret), "--drain", "5", "--admin", "127.0.0.1:0"),
    ]


def _start_agents(stage: Stage, urls: list[str], service: int) -> tuple[AgentsProcess, AgentsProcess]:
    exits = start_agents(stage, "exits", [{"url": urls, "name": f"exit-{n}"} for n in range(PAIRS)])
    rules = {n: [f"0:exit-{(n + m) % PAIRS}:127.0.0.1:{service}" for m in range(SESSIONS)] for n in range(PAIRS)}
    entries = [{"url": urls, "name": f"entry-{n}", "rules": rules[n]} for n in range(PAIRS)]
    return start_agents(stage, "entries", entries), exits


def _has_at_most(count: Callable[[], int], most: int) -> bool:
    return count() <= most


def _registered(server: RedisServer) -> set[str]:
    with redis.Redis.from_url(server.url, decode_responses=True) as client:
        return set(client.hkeys("hubble:names"))


def _keys(server: RedisServer) -> set[str]:
    with redis.Redis.from_url(server.url, decode_responses=True) as client:
        return set(client.keys("*"))


def _nothing_is_left(machines: list[Machine], directory: Path, server: RedisServer) -> None:
    """Each worker has one socket, is in the directory once, and there is nothing else."""

    def is_clean() -> bool:
        with redis.Redis.from_url(server.url) as client:
            known = client.hlen("hubble:workers"), client.zcard("hubble:seen")
        sockets = [path for machine in machines for path in machine.runtime.glob("*.sock") if path.stem != "control"]
        everyone = WORKERS * len(machines)
        return len(sockets) == everyone and known == (everyone, everyone)

    poll(is_clean, CALM, "what the dead have left is removed", every=0.5)
    known = {"lock", "slots", "control.sock", "admin.json"}
    for machine in machines:
        assert {path.name for path in machine.runtime.iterdir() if path.suffix != ".sock"} <= known


def _gateways_are_all_there_is(machines: list[Machine], agents: int) -> None:
    """What the workers hold: each agent once, no session, and no descriptor but those of these, and some of their own.

    Each worker has at most one link with each other, both ways.
    """
    client = Client(Access.read(machines[0].runtime))
    machine_of = {worker: machine for machine in machines for worker in machine.workers()}
    rows = client.get("workers")["items"]
    assert len(rows) == WORKERS * len(machines)
    assert sum(row["gateways"] for row in rows) == agents
    poll(lambda: client.get("status")["sessions_open"] == 0, CALM, "no session is left", every=0.5)
    for row in rows:
        files = len(os.listdir(f"/proc/{row['pid']}/fd"))
        assert files <= row["gateways"] + 2 * len(rows) + OWN_FILES, f"worker {row['pid']} has {files} files open"
        many = machine_of[row["pid"]].proxy.greenlets(row["pid"])
        assert many <= 3 * row["gateways"] + 4 * len(rows) + OWN_GREENLETS, f"worker {row['pid']} has {many} greenlets"
