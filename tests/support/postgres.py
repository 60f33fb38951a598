"""A real PostgreSQL server on a Unix socket, with a TCP port that the kernel chose in front of it."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from tests.support.relay import Relay
from tests.support.waiting import poll

SETTINGS = {
    "listen_addresses": "",
    "max_connections": "50",
    "fsync": "off",
    "shared_buffers": "64MB",
}


class Postgres:
    """Listens on `port` of loopback; the superuser is `postgres` and needs no password."""

    def __init__(self, initdb: str, postgres: str) -> None:
        # Not below pytest's directory, which is its user's alone, and short enough for a Unix socket's path.
        self._directory = Path(tempfile.mkdtemp(prefix="hubble-pg-", dir="/tmp"))
        owner = self._owner()
        data = self._directory / "data"
        subprocess.run(
            [initdb, "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=self._directory,
            **owner,
        )
        settings = {**SETTINGS, "unix_socket_directories": str(self._directory)}
        arguments = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with (self._directory / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [postgres, "-D", data, *arguments], stdout=log, stderr=log, cwd=self._directory, **owner
            )
        poll(self._ready, 30, "PostgreSQL is ready")
        self._relay = Relay(str(self._directory / ".s.PGSQL.5432"))
        self.port = self._relay.port

    def _owner(self) -> dict[str, Any]:
        """PostgreSQL refuses to run as root: then it is its own user's, who must own the directory."""
        if os.geteuid() != 0:
            return {}
        user = pwd.getpwnam("postgres")
        os.chown(self._directory, user.pw_uid, user.pw_gid)
        return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}

    def _ready(self) -> bool:
        text = (self._directory / "log").read_text()
        assert self._process.poll() is None, f"PostgreSQL did not start:\n{text}"
        return "ready to accept connections" in text

    def close(self) -> None:
        self._relay.close()
        self._process.send_signal(signal.SIGINT)
        self._process.wait(20)
        shutil.rmtree(self._directory)
