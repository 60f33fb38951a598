"""Looking on and stepping in, where the work is shared by several workers: there is one truth, whichever answers."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import requests

from hubble.admin.access import Access
from hubble.cli.admin_client import Client
from tests.support.commands import hubble
from tests.support.machines import Machine
from tests.support.services import Service, echo
from tests.support.sockets import connect, echoed
from tests.support.stage import Stage
from tests.support.waiting import poll
from tests.support.workerprocesses import AgentsProcess, start_agents

PAIRS = 6
ASK = 8  # times, each over a connection of its own: most likely both workers answer


class Scene:
    """Two workers, and agents at both of them."""

    def __init__(self, stage: Stage, directory: Path) -> None:
        self.events = directory / "events.jsonl"
        self.service = stage.add(Service(echo))
        self.machine = Machine(stage, "machine", 2, "--admin", "127.0.0.1:0", "--events", str(self.events))
        start_agents(stage, "exits", [{"url": self.machine.url, "name": f"exit-{n}"} for n in range(PAIRS)])
        self.entries: AgentsProcess = start_agents(stage, "entries", [self._entry(n) for n in range(PAIRS)])

    def _entry(self, number: int) -> dict[str, Any]:
        rule = f"0:a-key@exit-{number}:127.0.0.1:{self.service.port}"
        return {"url": self.machine.url, "name": f"entry-{number}", "rules": [rule]}

    def port(self, number: int) -> int:
        return int(self.entries.ports()[f"entry-{number}"][0])

    def client(self) -> Client:
        """A new one, which any of the workers may answer."""
        return Client(Access.read(self.machine.runtime))

    def told(self) -> list[dict[str, Any]]:
        """The events of all workers, from the one file."""
        return [json.loads(line) for line in self.events.read_text().splitlines()]


@pytest.fixture
def scene(stage: Stage, tmp_path: Path) -> Scene:
    return Scene(stage, tmp_path)


def test_every_worker_knows_all(scene: Scene) -> None:
    socks = [connect(scene.port(n)) for n in range(PAIRS)]
    assert all(echoed(sock, b"hello") == b"hello" for sock in socks)
    for _ in range(ASK):
        client = scene.client()
        workers = client.get("workers")["items"]
        assert len(workers) == 2 and all(worker["gateways"] for worker in workers)
        assert client.get("gateways")["total"] == 2 * PAIRS
        sessions = client.get("sessions")
        assert sorted(row["source"] for row in sessions["items"]) == [f"entry-{n}" for n in range(PAIRS)]
        assert client.get("status")["sessions_open"] == PAIRS
    shown = hubble("hubble-proxy", "status", "--runtime-dir", str(scene.machine.runtime)).stdout
    assert re.search(rf"gateways +{2 * PAIRS}\n", shown)


def test_a_key_has_one_digest_at_all_workers(scene: Scene) -> None:
    socks = [connect(scene.port(n)) for n in range(PAIRS)]
    assert all(echoed(sock, b"hello") == b"hello" for sock in socks)
    poll(lambda: sum(event["event"] == "OpenSession" for event in scene.told()) == PAIRS, 5, "all are told of")
    told = [event for event in scene.told() if event["event"] == "OpenSession"]
    assert len({event["worker"] for event in told}) == 2
    (digest,) = {event["key"] for event in told}
    assert digest and "a-key" not in digest


def test_metrics_are_of_both_and_told_apart(scene: Scene) -> None:
    access = Access.read(scene.machine.runtime)
    for _ in range(ASK):
        answer = requests.get(
            f"http://{access.address}/metrics", headers={"Authorization": f"Bearer {access.token}"}, timeout=10
        )
        held = re.findall(r'^hubble_gateways\{worker="(\d)"\} (\d+)', answer.text, re.MULTILINE)
        assert sorted(worker for worker, _ in held) == ["0", "1"]
        assert sum(int(count) for _, count in held) == 2 * PAIRS


def test_one_file_of_events_tells_of_each_session_once(scene: Scene) -> None:
    for number in range(PAIRS):
        with connect(scene.port(number)) as sock:
            assert echoed(sock, b"hello") == b"hello"

    def told() -> bool:
        kinds = Counter(event["event"] for event in scene.told())
        return kinds["OpenSession"] == kinds["CloseSession"] == PAIRS

    poll(told, 10, "each session's opening and end are told, once")
    assert len({event["worker"] for event in scene.told()}) == 2


def test_a_session_is_kicked_whoever_is_asked(scene: Scene) -> None:
    for number in range(PAIRS):
        with connect(scene.port(number)) as sock:
            assert echoed(sock, b"hello") == b"hello"
            (row,) = scene.client().get("sessions", gateway=f"exit-{number}")["items"]
            scene.client().post(f"sessions/{row['session']}/kick", {})
            with pytest.raises(ConnectionResetError):
                while sock.recv(100):
                    pass


def test_a_block_holds_at_all_workers_and_outlives_a_takeover(scene: Scene, stage: Stage) -> None:
    scene.client().post("gateways/block", {"name": "exit-0"})
    scene.machine.take_over()
    poll(lambda: scene.client().get("gateways")["total"] == 2 * PAIRS - 1, 20, "all others have moved")
    for number in range(3):
        blocked = stage.agent(scene.machine.url, "exit-0", registered=False, log_name=f"blocked-{number}")
        blocked.log.wait_for("blocked by the operator")
    scene.client().post("gateways/unblock", {"name": "exit-0"})
    poll(lambda: scene.client().get("gateways")["total"] == 2 * PAIRS, 20, "it registers again")


def test_a_drain_asked_of_one_is_of_all(scene: Scene) -> None:
    scene.client().post("drain", {"seconds": 0.2})
    assert scene.machine.proxy.wait(within=20) == 0
