"""A bulk stream whose two ends are processes of their own: in the test's process they would slow its own clock."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import Any

from tests.support.processes import ROOT

# Neither end imports gevent: each is one blocking loop. The sender prints the bytes per second it sent, on SIGTERM.
SINK = """
import contextlib, socket
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
connection, _ = server.accept()
buffer = bytearray(1 << 20)
with contextlib.suppress(ConnectionResetError):
    while connection.recv_into(buffer):
        pass
"""
SENDER = """
import signal, socket, sys, time
def stop(*_):
    raise SystemExit
signal.signal(signal.SIGTERM, stop)
connection = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
chunk, sent, started = bytes(64 * 1024), 0, time.monotonic()
print("started", flush=True)
try:
    while True:
        sent += connection.send(chunk)
finally:
    print(sent / (time.monotonic() - started), flush=True)
"""


class _Program:
    def __init__(self, source: str, *arguments: str) -> None:
        command = [sys.executable, "-c", source, *arguments]
        self._process: subprocess.Popen[bytes] = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)
        self.first_line = self._read_line()

    def _read_line(self) -> str:
        stdout: Any = self._process.stdout
        return str(stdout.readline().decode().strip())

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


class BulkSink(_Program):
    """Listens on `port` and discards what its one client sends."""

    def __init__(self) -> None:
        super().__init__(SINK)
        self.port = int(self.first_line)


class BulkSender(_Program):
    """Sends to `port` of loopback as fast as it can, until stopped."""

    def __init__(self, port: int) -> None:
        super().__init__(SENDER, str(port))

    def stop(self) -> float:
        """The bytes per second it has sent."""
        self._process.send_signal(signal.SIGTERM)
        return float(self._read_line())
