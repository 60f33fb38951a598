"""Sessions between all pairs of workers: at most one link between workers is crossed, and every byte is right."""

from __future__ import annotations

from pathlib import Path

import gevent
import pytest

from tests.support.scale import KIB, scaled
from tests.support.services import Exchange
from tests.support.stage import Stage
from tests.support.traffic import Progress, exchange
from tests.support.workerprocesses import start_agents, start_workers

PAIRS = 25  # agents of each kind
SESSIONS = 20  # of each entry agent, each with another exit agent
SIZE = scaled(128 * KIB, 32 * KIB)  # of each session, each way


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("count", [1, 2, 4])
def test_five_hundred_sessions_among_fifty_agents(stage: Stage, tmp_path: Path, count: int) -> None:
    progress = Progress()
    service = stage.add(Exchange(progress))
    workers = start_workers(stage, tmp_path / "run", count)
    start_agents(stage, "exits", ({"url": workers[n % count].url, "name": f"exit-{n}"} for n in range(PAIRS)))
    entries = start_agents(
        stage,
        "entries",
        (
            {
                "url": workers[n % count].url,
                "name": f"entry-{n}",
                "rules": [f"0:exit-{(n + m) % PAIRS}:127.0.0.1:{service.port}" for m in range(SESSIONS)],
            }
            for n in range(PAIRS)
        ),
    )
    ports = [port for n in range(PAIRS) for port in entries.ports()[f"entry-{n}"]]
    sessions = [gevent.spawn(exchange, port, number, SIZE, progress) for number, port in enumerate(ports)]
    gevent.joinall(sessions, raise_error=True)
    assert len(sessions) == PAIRS * SESSIONS
    assert progress.total == 2 * SIZE * len(sessions)
    service.changes.wait_until(lambda: service.completed == len(sessions), 10, "the service has completed them all")
    assert not service.failures
