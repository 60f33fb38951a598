"""The programs' command lines: the agent's run in this process, the proxy's, which starts others, as one of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import gevent
import pytest

from hubble.cli import agent
from tests.support.commands import hubble
from tests.support.talk import PATIENCE
from tests.support.waiting import poll


class Said(NamedTuple):
    """What a program said before it ended."""

    status: int
    out: str
    err: str


def run(program: str, *arguments: str, capfd: pytest.CaptureFixture[str]) -> Said:
    """Runs a program that ends by itself."""
    if program == "proxy":
        ended = hubble("hubble-proxy", *arguments, within=PATIENCE)
        return Said(ended.returncode, ended.stdout, ended.stderr)
    try:
        with gevent.Timeout(PATIENCE):
            status = agent.main(arguments)
    except SystemExit as ended:
        assert isinstance(ended.code, int)
        status = ended.code
    return Said(status, *capfd.readouterr())


def complaint(program: str, *arguments: str, capfd: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """The status and the one line by which a program refuses to run."""
    said = run(program, *arguments, capfd=capfd)
    assert said.out == ""
    (line,) = [line for line in said.err.splitlines() if " WARNING " not in line]
    assert line.startswith(f"hubble-{program}: "), line
    return said.status, line


@contextmanager
def serving(*arguments: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """Runs an agent; what it has written to its ports file. In the end it is stopped, as by a signal."""
    stop: list[Callable[[], None]] = []
    monkeypatch.setattr(agent, "stop_on_signals", lambda end, within: stop.append(end))
    monkeypatch.setattr(agent, "spare_the_collector", lambda: None)
    file = tmp_path / "agent.json"
    running = gevent.spawn(agent.main, [*arguments, "--ports-file", str(file)])
    try:
        poll(lambda: file.exists() or running.ready(), PATIENCE, "the agent serves")
        assert not running.ready(), f"it has ended with status {running.value}"
        yield json.loads(file.read_text())
    finally:
        for each in stop:
            each()
        assert running.get(timeout=PATIENCE) == 0
