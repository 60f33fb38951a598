"""Fixtures of the end-to-end tests: real processes, real sockets, ports chosen by the kernel."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.support.postgres import Postgres
from tests.support.programs import require
from tests.support.sshd import Sshd
from tests.support.stage import Stage

SHOWN_LINES = 150  # of each process's log, beneath a failed test


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """Starts proxies, agents, relays and services; at the end all must leave in order, and none may have raised."""
    stage = Stage(tmp_path)
    try:
        yield stage
        complaints = stage.end()
    finally:
        stage.kill()
    assert not complaints, "\n".join(complaints)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Shows what the processes said beneath a test that failed."""
    report = yield
    stage = getattr(item, "funcargs", {}).get("stage")
    if report.failed and stage is not None:
        for process in stage.processes:
            lines = process.log.lines[-SHOWN_LINES:]
            report.sections.append((f"log of {process.name} ({process.log.path})", "\n".join(lines)))
    return report


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """An OpenSSH server that the present user may log in to."""
    sshd = Sshd(require("sshd"), require("ssh-keygen"), tmp_path_factory.mktemp("sshd"))
    yield sshd
    sshd.close()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server with an empty database cluster of its own."""
    postgres = Postgres(require("initdb"), require("postgres"))
    yield postgres
    postgres.close()
