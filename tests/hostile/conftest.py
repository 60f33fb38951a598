"""The arena of the tests: kept from one test of a module to the next while they pass, made anew after a failure."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.hostile.arena import Arena, Setup

SHOWN_LINES = 60  # of each process's log, beneath a failed test


class Kept:
    """At most one arena."""

    def __init__(self, make_directory: pytest.TempPathFactory) -> None:
        self._make_directory = make_directory
        self._arena: Arena | None = None

    def get(self, setup: Setup) -> Arena:
        """An arena of this setup, the present one if it is."""
        if self._arena is not None and self._arena.setup != setup:
            self.end()
        if self._arena is None:
            self._arena = Arena(Path(self._make_directory.mktemp("arena")), setup)
        return self._arena

    @contextmanager
    def using(self, setup: Setup, request: pytest.FixtureRequest) -> Iterator[Arena]:
        """An arena of this setup for one test, whose failure ends its processes."""
        arena = self.get(setup)
        failed = request.session.testsfailed
        yield arena
        if request.session.testsfailed > failed:
            self.kill()

    def end(self) -> None:
        """End the processes in order, which must not have raised anything."""
        arena, self._arena = self._arena, None
        if arena is not None:
            try:
                complaints = arena.stage.end()
            finally:
                arena.stage.kill()
            assert not complaints, "\n".join(complaints)

    def kill(self) -> None:
        """End the processes after a failure."""
        arena, self._arena = self._arena, None
        if arena is not None:
            arena.stage.kill()
            arena.stage.end()


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    kept = Kept(tmp_path_factory)
    yield kept
    kept.end()


@pytest.fixture
def arena(request: pytest.FixtureRequest, kept: Kept) -> Iterator[Arena]:
    """Real processes to attack; parametrized indirectly by a Setup."""
    with kept.using(getattr(request, "param", Setup()), request) as arena:
        yield arena


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Shows what the processes said beneath a test that failed."""
    report = yield
    arguments = getattr(item, "funcargs", {})
    arena = arguments.get("arena") or arguments.get("guarded")
    if report.failed and arena is not None:
        for process in arena.stage.processes:
            lines = process.log.lines[-SHOWN_LINES:]
            report.sections.append((f"log of {process.name} ({process.log.path})", "\n".join(lines)))
    return report
