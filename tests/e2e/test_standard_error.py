"""What the programs write on standard error, and what they do without one."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.processes import ROOT, START
from tests.support.sockets import connect
from tests.support.stage import Stage
from tests.support.waiting import poll

HEAD = b"GET / HTTP/1.1\r\nHost: a\r\n"


def answer(port: int, sent: bytes) -> bytes:
    """All that the proxy answers before it closes the connection."""
    received = b""
    with connect(port) as sock:
        sock.sendall(sent)
        with suppress(ConnectionResetError):  # it does not read what it refuses
            while data := sock.recv(65536):
                received += data
    return received


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (HEAD + b"X: y\r\n" * 101 + b"\r\n", "more than 100 header lines"),
        (HEAD + b"X: " + b"y" * 70_000 + b"\r\n\r\n", "more than 65,536 bytes"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP/2.0 is not supported here"),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", "the request line is malformed"),
        (b"GET / HTTP/1.0\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", "proxy_http_version 1.1"),
    ],
)
def test_a_strange_request_is_one_line_of_json(stage: Stage, sent: bytes, said: str) -> None:
    proxy = stage.proxy("--log-format", "json")
    proxy.log.wait_for("listening on")
    mark = proxy.log.mark()
    assert said.encode() in answer(proxy.port, sent)
    proxy.log.wait_for(re.escape(said), after=mark)
    assert [json.loads(line)["level"] for line in proxy.log.lines] == ["info", "info"]


def test_a_flood_of_them_is_a_few_lines(stage: Stage) -> None:
    proxy = stage.proxy()
    for _ in range(100):
        answer(proxy.port, b"GET\r\n\r\n")
    proxy.log.wait_for("and 97 more from 127.0.0.0/24", within=START)
    assert proxy.log.text.count("the request line is malformed") == 3


@pytest.mark.parametrize("wrong", [["--nonsense"], ["--auth-rules", "/nowhere.toml"]])
def test_a_mistake_is_one_line_of_json(wrong: list[str], tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "bin" / "hubble-proxy"), "-listen", "127.0.0.1:0", "--log-format=json"]
    command += ["--runtime-dir", str(tmp_path / "run"), *wrong]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=START)
    (line,) = ended.stderr.splitlines()
    assert json.loads(line)["message"].startswith("hubble-proxy: ")
    assert ended.returncode == 2


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_a_proxy_without_standard_descriptors(closed: str, tmp_path: Path) -> None:
    """Its first files must not get their numbers: text for standard error would be written into them."""
    ports = tmp_path / "ports.json"
    command = [sys.executable, str(ROOT / "bin" / "hubble-proxy"), "-listen", "127.0.0.1:0", "--workers", "2"]
    command += ["--ports-file", str(ports), "--runtime-dir", str(tmp_path / "run"), "--log-level", "debug"]
    shell = ["sh", "-c", f'exec "$@" {closed}', "sh", *command]
    null = subprocess.DEVNULL
    proxy = subprocess.Popen(shell, stdin=null, stdout=null, stderr=null, start_new_session=True)
    try:
        poll(ports.exists, START, "it serves")
        children = Path(f"/proc/{proxy.pid}/task/{proxy.pid}/children").read_text().split()
        for pid in (str(proxy.pid), *children):
            for descriptor in "012":
                assert os.readlink(f"/proc/{pid}/fd/{descriptor}") == "/dev/null"
        proxy.send_signal(signal.SIGTERM)
        assert proxy.wait(START) == 0
    finally:
        if proxy.poll() is None:
            os.killpg(proxy.pid, signal.SIGKILL)
            proxy.wait()
