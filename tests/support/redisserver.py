"""A Redis server of a test's own: on a free port of loopback, its files in a directory of the test's."""

from __future__ import annotations

import signal
import socket
import subprocess
from pathlib import Path

from tests.support.ports import free_port
from tests.support.programs import require
from tests.support.waiting import poll

START = 10.0


class RedisServer:
    """Started at once. After `kill` it can be started again on the same port, with nothing it knew before."""

    def __init__(self, directory: Path, password: str = "") -> None:
        self._program = require("redis-server")
        self._directory = directory
        self._password = password
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"redis://{f':{self._password}@' if self._password else ''}127.0.0.1:{self.port}/0"

    def start(self) -> None:
        settings = {"port": self.port, "bind": "127.0.0.1", "dir": self._directory, "save": "", "appendonly": "no"}
        if self._password:
            settings["requirepass"] = self._password
        arguments = [str(part) for name, value in settings.items() for part in (f"--{name}", value)]
        with (self._directory / "redis.log").open("ab") as log:
            self._process = subprocess.Popen([self._program, *arguments], stdout=log, stderr=log)
        poll(self._answers, START, "the Redis server listens")

    def kill(self) -> None:
        """SIGKILL: all that it knew is gone."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        """It answers nobody until `thaw`, though connections to it stay open and new ones are made."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()

    def _answers(self) -> bool:
        assert self._process is not None and self._process.poll() is None, "the Redis server has ended"
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True
