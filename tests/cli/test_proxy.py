from __future__ import annotations

import json
from http.client import HTTPConnection
from pathlib import Path

import pytest
from gevent import socket

from hubble import __version__
from hubble.policy import DenyAll, GrantAll
from hubble.proxy.proxy import Proxy
from tests.agent.agents import started
from tests.cli.programs import complaint, run, serving

BASE = ("-listen", "127.0.0.1:0")


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["-listen", "8080"], "should look like :8080"),
        (["-listen", "127.0.0.1:65536"], "should look like :8080"),
        (["-authgrant", "-authdeny"], "-authgrant and -authdeny exclude each other: give one of them"),
        (["-authdeny", "-authlua", "x.lua"], "-authdeny and -authlua exclude each other"),
        (["-authlua", "/nowhere/policy.lua"], "/nowhere/policy.lua"),
        (["-authgrant=perhaps"], "'perhaps' should be true or false"),
        (["-authgrant", "true"], "true"),  # to the original's flag library this is a switch, and an argument
        (["2222:a:b:1"], "2222:a:b:1"),
        (["--nonsense"], "--nonsense"),
    ],
)
def test_what_cannot_be_meant_is_one_line_and_status_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, line = complaint("proxy", *arguments, capsys=capsys)
    assert status == 2 and said in line


def test_an_address_in_use_is_one_line_and_status_1(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        status, line = complaint("proxy", "-listen", where, "-authgrant", capsys=capsys)
    assert (status, line) == (1, f"hubble-proxy: cannot listen on {where}: Address already in use")


@pytest.mark.parametrize("option", ["-version", "--version"])
def test_version(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("proxy", option, capsys=capsys) == (0, f"hubble-proxy {__version__}\n", "")


@pytest.mark.parametrize(
    "arguments, policy, warns",
    [
        ([], GrantAll, True),
        (["-authgrant"], GrantAll, False),
        (["--authgrant=true"], GrantAll, False),
        (["-authgrant=false"], GrantAll, True),
        (["-authdeny"], DenyAll, False),
        (["-authgrant=false", "-authdeny"], DenyAll, False),
    ],
)
def test_policies(
    arguments: list[str],
    policy: type,
    warns: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    made: list[object] = []

    class Noting(Proxy):
        def __init__(self, listen: str, authorizer: object, **more: object) -> None:
            made.append(authorizer)
            super().__init__(listen, authorizer, **more)  # type: ignore[arg-type]

    monkeypatch.setattr("hubble.cli.proxy.Proxy", Noting)
    with serving("proxy", *BASE, *arguments, tmp_path=tmp_path, monkeypatch=monkeypatch):
        assert type(made[0]) is policy
    assert ("every session is granted" in capsys.readouterr().err) is warns


def test_serves_and_tells_its_port(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = (*BASE, "-authgrant", "--log-format=json")
    with serving("proxy", *arguments, tmp_path=tmp_path, monkeypatch=monkeypatch) as ports:
        host, _, port = ports["listen"].rpartition(":")
        connection = HTTPConnection(host, int(port), timeout=20)
        connection.request("GET", "/healthz")
        assert connection.getresponse().read() == b"ok\n"
        connection.close()
        with started(f"ws://{ports['listen']}", "agent1"):
            pass
    entries = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert {entry["level"] for entry in entries} <= {"info", "warning"}
    registered = next(entry for entry in entries if "registered from" in entry["message"])
    assert registered["gateway"] == "agent1"
