"""The examples do what they say."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.support.listening import listening
from tests.support.services import Service, echo
from tests.support.sockets import assert_echo
from tests.support.talk import PATIENCE
from tests.support.waiting import poll

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"


@contextmanager
def running(example: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, str(EXAMPLES / example), *arguments]
    process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)})  # installed or not
    try:
        yield process
        assert process.poll() is None, f"{example} has ended with status {process.returncode}"
    finally:
        process.kill()
        process.wait()


def port_of(process: subprocess.Popen[bytes]) -> int:
    """The port on which it listens, as soon as it does."""

    def ports() -> list[int]:
        assert process.poll() is None, f"it has ended with status {process.returncode}"
        return listening(process.pid)

    return poll(ports, PATIENCE, "it listens")[0]


def test_a_proxy_and_two_agents_of_ones_own() -> None:
    service = Service(echo)
    with ExitStack() as programs:
        proxy = programs.enter_context(running("proxy.py", "127.0.0.1:0"))
        url = f"ws://127.0.0.1:{port_of(proxy)}"
        entry = programs.enter_context(running("agent.py", url, "agent1", f"0:agent2:127.0.0.1:{service.port}"))
        programs.enter_context(running("agent.py", url, "agent2"))

        def works() -> bool:
            try:
                assert_echo(port_of(entry), PATIENCE)
            except OSError:  # agent2 is not there yet
                return False
            return True

        poll(works, PATIENCE, "bytes come back")
    service.close()


@pytest.mark.parametrize("example", ["proxy.py", "agent.py"])
def test_they_are_five_lines(example: str) -> None:
    statements = ast.parse((EXAMPLES / example).read_text()).body
    assert len(statements) - 1 == 5  # without the docstring
