"""Whatever a process writes on standard error is in the chosen format."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.support.processes import ROOT, START

SET_UP = """
from gevent import monkey
monkey.patch_all()
from hubble.cli import eventloop, logs, strays
strays.catch()
eventloop.log_hub_errors()
logs.set_up("info", "json", worker=3)
import sys, threading, warnings, gevent
def fail(*_): raise ValueError("what was wrong")
"""


def written(code: str) -> list[str]:
    """The lines of standard error of a process that does as its programs do, and then runs `code`."""
    command = [sys.executable, "-c", SET_UP + code]
    return subprocess.run(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, timeout=START).stderr.splitlines()


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("gevent.spawn(fail).join()", "fail failed: ValueError: what was wrong"),
        ("gevent.get_hub().loop.run_callback(fail); gevent.sleep(0.01)", "ValueError: what was wrong"),
        ("gevent.get_hub().threadpool.spawn(fail).wait(); gevent.sleep(0.01)", "ValueError: what was wrong"),
        ("thread = threading.Thread(target=fail); thread.start(); thread.join()", "ValueError: what was wrong"),
        ("fail()", "the program failed: ValueError: what was wrong"),
        ("class A:\n  __del__ = fail\nA()", "ValueError: what was wrong"),
        ("warnings.warn('take care')", "take care"),
        ("print('half a line', end='', file=sys.stderr); print(' and the rest', file=sys.stderr)", "half a line and"),
        ("sys.stderr.write('%s %d\\n')", "%s %d"),
    ],
)
def test_one_object_a_line(code: str, said: str) -> None:
    (line,) = written(code)
    entry = json.loads(line)
    assert said in entry["message"]
    assert entry["worker"] == 3
    assert "ValueError" not in said or "Traceback" in entry["exception"]


def test_failures_of_one_kind_are_bounded() -> None:
    lines = written("for _ in range(1000): gevent.spawn(fail).join()\neventloop.flood.tell()")
    assert len(lines) == 4
    assert json.loads(lines[-1])["message"] == "fail failed: ValueError: and 997 more"
