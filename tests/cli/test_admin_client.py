"""The terminal commands, as processes, against a proxy that runs as one."""

from __future__ import annotations

import contextlib
import io
import json
import re
from pathlib import Path

import pytest
from gevent import socket

from hubble.admin.access import Access
from hubble.cli import admin_client
from tests.support.commands import hubble
from tests.support.services import Service
from tests.support.stage import Stage, Tunnel

TOKEN = "the-token-of-this-test"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "token").write_text(TOKEN + "\n")
    return tmp_path


def test_looking_and_doing(directory: Path) -> None:
    stage = Stage(directory)
    try:
        _look_and_do(stage, directory)
        assert not stage.end()
    finally:
        stage.kill()


def _look_and_do(stage: Stage, directory: Path) -> None:
    echo = stage.add(Service(_echo))
    events = directory / "events.jsonl"
    tunnel = stage.tunnel(
        echo.port,
        proxy_options=[
            "--admin",
            "127.0.0.1:0",
            "--admin-token-file",
            str(directory / "token"),
            "--events",
            str(events),
        ],
    )
    address = tunnel.proxy.ports()["admin"]
    Access(address, TOKEN).write(directory)
    assert (directory / "admin.json").stat().st_mode & 0o777 == 0o600

    def ask(name: str, *arguments: str) -> str:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            assert admin_client.COMMANDS[name]([*arguments, "--runtime-dir", str(directory)]) == 0
        return printed.getvalue()

    sock = _open(tunnel)
    status = hubble("hubble-proxy", "status", "--runtime-dir", str(directory)).stdout
    assert re.search(r"gateways +2\n", status) and "1 open, 0 suspended" in status
    assert [line.split()[0] for line in ask("gateways").splitlines()] == ["GATEWAY", "entry", "exit"]
    session, *rest = ask("sessions").splitlines()[1].split()
    assert rest[:3] == ["entry", "exit", f"127.0.0.1:{echo.port}"]
    assert json.loads(ask("sessions", "--json"))["items"][0]["session"] == session
    assert json.loads(ask("gateways", "--json", "--search", "ent"))["total"] == 1
    assert re.search(r"OpenSession +session=\S+ source=entry", ask("events"))
    assert admin_client.COMMANDS["status"](["--admin", address, "--admin-token-file", str(directory / "token")]) == 0

    assert ask("kick", session) == f"session {session} was ended\n"
    with pytest.raises(ConnectionResetError):
        sock.recv(1)
    assert ask("kick", "exit", "--block") == "gateway exit is blocked\n"
    tunnel.exit.log.wait_for("blocked by the operator")
    assert ask("unblock", "exit") == "gateway exit may register again\n"
    assert ask("reload") == "reloaded\n"
    assert admin_client.COMMANDS["kick"](["nobody", "--runtime-dir", str(directory)]) == 1
    assert ask("drain", "--seconds", "1").startswith("draining")
    assert tunnel.proxy.wait(within=15) == 0
    kinds = [json.loads(line)["event"] for line in events.read_text().splitlines()]
    assert kinds[0] == "ProxyStarted" and "CloseSession" in kinds and "ProxyStopping" in kinds
    assert admin_client.COMMANDS["status"](["--runtime-dir", str(directory)]) == 1  # it cannot be reached


def _echo(sock: socket.socket) -> None:
    try:
        while data := sock.recv(65536):
            sock.sendall(data)
    except ConnectionResetError:
        pass


def _open(tunnel: Tunnel) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", tunnel.port()), timeout=10)
    sock.sendall(b"hello")
    assert sock.recv(5) == b"hello"
    return sock


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--admin", "nonsense"], "--admin 'nonsense' is not an address; write for example 127.0.0.1:8081 or :8081"),
        (["--admin-token-file", "x"], "--admin-token-file has no meaning without --admin"),
        (["--admin", ":0", "--admin-token-file", "/nowhere"], "cannot read the token file /nowhere: No such file"),
        (["--events", "kafka:x"], "--events 'kafka:x' names no logger; write stdout"),
        (["--events-spool", "x"], "--events-spool needs --events https://..."),
    ],
)
def test_what_cannot_be_meant(arguments: list[str], complaint: str) -> None:
    result = hubble("hubble-proxy", "-authgrant", "-listen", "127.0.0.1:0", *arguments)
    assert result.returncode == 2 and result.stderr.splitlines()[-1].startswith(f"hubble-proxy: {complaint}")


def test_a_client_that_cannot_know_where_the_proxy_is(directory: Path) -> None:
    result = hubble("hubble-proxy", "status", "--runtime-dir", str(directory))
    assert result.returncode == 2 and "no proxy runs with the runtime directory" in result.stderr
    result = hubble("hubble-proxy", "status", "--admin", ":8081")
    assert result.returncode == 2 and "--admin needs --admin-token-file" in result.stderr
    (directory / "token").write_text("short")
    result = hubble("hubble-proxy", "status", "--admin", ":8081", "--admin-token-file", str(directory / "token"))
    assert result.returncode == 2 and "at least 16 ASCII" in result.stderr and "short" not in result.stderr


def test_a_token_that_was_made_is_printed_once(directory: Path) -> None:
    stage = Stage(directory)
    try:
        proxy = stage.proxy("--admin", "127.0.0.1:0")
        proxy.log.wait_for("dashboard: ")
        match = re.search(r"dashboard: http://(\S+)/#token=(\S+)", proxy.log.text)
        assert match and match[1] == proxy.ports()["admin"] and len(match[2]) >= 32
        assert proxy.log.text.count(match[2]) == 1
        assert not stage.end()
    finally:
        stage.kill()
