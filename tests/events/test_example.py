"""examples/event_logger.py, as it stands."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from gevent import socket
from gevent.server import StreamServer

from hubble.agent.agent import Agent
from hubble.agent.options import AgentOptions
from tests.support.log import Log

EXAMPLE = Path(__file__).parents[2] / "examples" / "event_logger.py"


def test_it_prints_what_happens(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    echo = StreamServer(("127.0.0.1", 0), lambda sock, address: sock.sendall(sock.recv(100)))
    echo.start()
    command = [sys.executable, str(EXAMPLE), f"127.0.0.1:{port}"]
    environment = {**os.environ, "PYTHONPATH": str(EXAMPLE.parents[1])}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
    assert process.stdout is not None
    log = Log("example", tmp_path / "log")
    log.follow(process.stdout)
    options = AgentOptions(retry_first=0.1, retry_most=0.2)
    agent = Agent(f"ws://127.0.0.1:{port}", "here", [f"0:here:127.0.0.1:{echo.server_port}"], options=options)
    try:
        (_, address, local), *_ = agent.start()
        log.wait_for("here registered from 127.0.0.1", within=15)
        with socket.create_connection((address, local), timeout=5):
            log.wait_for("here was denied: Unauthorized", within=5)
            log.wait_for(f"here failed to connect to 127.0.0.1:{echo.server_port}: Unauthorized", within=5)
        agent.stop()
        log.wait_for("here unregistered after", within=5)
    finally:
        agent.stop()
        process.kill()
        process.wait(5)
        echo.stop()
