"""The programs' command lines, run in this process."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import gevent
import pytest

from hubble.cli import agent, proxy
from tests.e2e.waiting import poll
from tests.talk import PATIENCE

MAIN = {"agent": agent.main, "proxy": proxy.main}


class Said(NamedTuple):
    """What a program said before it ended."""

    status: int
    out: str
    err: str


def run(program: str, *arguments: str, capsys: pytest.CaptureFixture[str]) -> Said:
    """Runs a program that ends by itself."""
    try:
        with gevent.Timeout(PATIENCE):
            status = MAIN[program](arguments)
    except SystemExit as ended:
        assert isinstance(ended.code, int)
        status = ended.code
    return Said(status, *capsys.readouterr())


def complaint(program: str, *arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """The status and the one line by which a program refuses to run."""
    said = run(program, *arguments, capsys=capsys)
    assert said.out == ""
    (line,) = [line for line in said.err.splitlines() if " WARNING " not in line]
    assert line.startswith(f"hubble-{program}: "), line
    return said.status, line


@contextmanager
def serving(program: str, *arguments: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """Runs a program that serves; what it has written to its ports file. In the end it is stopped, as by a signal."""
    stop: list[Callable[[], None]] = []
    for module in (agent, proxy):
        monkeypatch.setattr(module, "stop_on_signals", stop.append)
        monkeypatch.setattr(module, "spare_the_collector", lambda: None)
    monkeypatch.setattr(proxy, "reload_on_signal", lambda reload: None)
    file = tmp_path / f"{program}.json"
    running = gevent.spawn(MAIN[program], [*arguments, "--ports-file", str(file)])
    try:
        poll(lambda: file.exists() or running.ready(), PATIENCE, f"{program} serves")
        assert not running.ready(), f"it has ended with status {running.value}"
        yield json.loads(file.read_text())
    finally:
        for each in stop:
            each()
        assert running.get(timeout=PATIENCE) == 0
