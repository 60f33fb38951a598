"""Everything that can go wrong, at random, for a while: no session may notice, and nothing may be left behind.

Two machines of two workers each, a Redis server between them, twenty agents that know all four workers, and a hundred
sessions that never stop talking. For as
long as HUBBLE_CHAOS_SECONDS says; only by request, since it takes long.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import gevent
import pytest
import redis

from tests.e2e.relay import Relay
from tests.e2e.services import Service, echo
from tests.e2e.sockets import connect, echoed
from tests.e2e.stage import Stage
from tests.e2e.traffic import Pattern
from tests.e2e.waiting import poll
from tests.e2e.workers import AgentsProcess, WorkerProcess, start_agents, start_workers
from tests.redisserver import RedisServer

SECONDS = float(os.environ.get("HUBBLE_CHAOS_SECONDS") or 0)
CALM = 60.0  # seconds that everything may take to be well again afterwards
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
    """Blows to strike, each of which heals what it has hurt within seconds."""

    def __init__(self, chance: random.Random, machines: list[list[WorkerProcess]], redis: RedisServer) -> None:
        self._chance = chance
        self._machines = machines
        self._redis = redis
        self.relays: list[Relay] = []
        self.struck: dict[str, int] = {}

    def strike(self) -> None:
        blows: list[Callable[[], None]] = [
            self.kill_a_worker, self.kill_a_worker, self.stop_a_worker, self.hang_a_worker, self.cut_links,
            self.cut_links, self.reload, self.drain_a_worker, self.kill_redis, self.freeze_redis, self.kill_a_machine,
        ]  # fmt: skip
        blow = self._chance.choice(blows)
        self.struck[blow.__name__] = self.struck.get(blow.__name__, 0) + 1
        blow()

    def kill_a_worker(self) -> None:
        worker = self._worker()
        worker.kill()
        self._wait(0, 1)
        worker.start()

    def stop_a_worker(self) -> None:
        """It goes on as if nothing had been."""
        worker = self._worker()
        worker.send(signal.SIGSTOP)
        self._wait(1, 5)
        worker.send(signal.SIGCONT)

    def hang_a_worker(self) -> None:
        """It is ended, as its supervisor would do."""
        worker = self._worker()
        worker.send(signal.SIGSTOP)
        self._wait(2, 4)
        worker.kill()
        worker.start()

    def drain_a_worker(self) -> None:
        worker = self._worker()
        assert worker.stop(within=20) == 0
        worker.start()

    def reload(self) -> None:
        self._worker().send(signal.SIGHUP)

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
        machine = self._chance.choice(self._machines)
        for worker in machine:
            worker.kill()
        self._wait(0, 3)
        for worker in machine:
            worker.start()

    def _worker(self) -> WorkerProcess:
        return self._chance.choice(self._chance.choice(self._machines))

    def _wait(self, least: float, most: float) -> None:
        gevent.sleep(self._chance.uniform(least, most))  # the length of an outage, not a wait for anything


@pytest.mark.skipif(not SECONDS, reason="say for how long: HUBBLE_CHAOS_SECONDS=120")
@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 4 * CALM)
def test_no_session_notices(stage: Stage, tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    server = stage.add(RedisServer(tmp_path))
    machines = [start_workers(stage, tmp_path / node, 2, server.url, node) for node in ("here-", "there-")]
    workers = [worker for machine in machines for worker in machine]
    service = stage.add(Service(echo))
    chaos = Chaos(chance, machines, server)
    chaos.relays = [stage.relay(("127.0.0.1", worker.port)) for worker in workers]
    entries, exits = _start_agents(stage, [f"ws://127.0.0.1:{relay.port}" for relay in chaos.relays], service.port)
    everything = (*workers, entries, exits)
    files = {process.name: process.open_files() for process in everything}

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
    poll(lambda: _registered(server) == agents, CALM, "the directory is right again", every=0.5)
    _nothing_is_left(tmp_path, workers, server)
    links = 2 * len(agents) + 2 * len(workers) ** 2  # all agents, or all links between workers, may be at one worker
    for process in everything:
        limit = files[process.name] + links
        poll(
            lambda process=process, limit=limit: process.open_files() <= limit, CALM, f"{process.name} has closed files"
        )  # type: ignore[misc]
    assert entries.open_files() <= files["entries"] + 4 and exits.open_files() <= files["exits"] + 4

    for process in (entries, exits, *workers):
        assert process.stop(within=20) == 0
    assert _keys(server) <= {"hubble:version"}
    assert not _sockets(tmp_path)


def _start_agents(stage: Stage, urls: list[str], service: int) -> tuple[AgentsProcess, AgentsProcess]:
    exits = start_agents(stage, "exits", [{"url": urls, "name": f"exit-{n}"} for n in range(PAIRS)])
    rules = {n: [f"0:exit-{(n + m) % PAIRS}:127.0.0.1:{service}" for m in range(SESSIONS)] for n in range(PAIRS)}
    entries = [{"url": urls, "name": f"entry-{n}", "rules": rules[n]} for n in range(PAIRS)]
    return start_agents(stage, "entries", entries), exits


def _registered(server: RedisServer) -> set[str]:
    with redis.Redis.from_url(server.url, decode_responses=True) as client:
        return set(client.hkeys("hubble:names"))  # type: ignore[arg-type]


def _keys(server: RedisServer) -> set[str]:
    with redis.Redis.from_url(server.url, decode_responses=True) as client:
        return set(client.keys("*"))  # type: ignore[arg-type]


def _sockets(directory: Path) -> list[str]:
    return [path.suffix for node in ("here-", "there-") for path in (directory / node).iterdir() if not path.is_dir()]


def _nothing_is_left(directory: Path, workers: list[WorkerProcess], server: RedisServer) -> None:
    """Each worker has one socket, is in the directory once, and there is nothing else."""

    def is_clean() -> bool:
        with redis.Redis.from_url(server.url) as client:
            known = client.hlen("hubble:workers"), client.zcard("hubble:seen")
        return _sockets(directory) == [".sock"] * len(workers) and known == (len(workers), len(workers))

    poll(is_clean, CALM, "what the dead have left is removed", every=0.5)
