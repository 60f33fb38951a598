from __future__ import annotations

import errno
from pathlib import Path

import pytest
from gevent import socket

from hubble import __version__
from hubble.base.errors import ListenError
from hubble.cli import commands, proxy
from hubble.cli.proxy_arguments import COMMANDS, lacks_policy, parser
from hubble.policy import DenyAll, GrantAll
from hubble.proxy.gateways.limits import AbuseLimits
from hubble.supervisor.takeover import Handover
from hubble.transport.bind import begin_to_listen, bind_listener
from hubble.worker.policy_options import abuse_limits, policy
from tests.cli.programs import complaint, run

BASE = ("-listen", "127.0.0.1:0")


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["-listen", "8080"], "should look like :8080"),
        (["-listen", "127.0.0.1:65536"], "should look like :8080"),
        (["-authgrant", "-authdeny"], "-authgrant and -authdeny exclude each other; give one of them"),
        (["-authdeny", "-authlua", "x.lua"], "-authdeny and -authlua exclude each other"),
        (["-authlua", "/nowhere/policy.lua"], "/nowhere/policy.lua"),
        (["-authgrant=perhaps"], "'perhaps' is not a boolean; write true or false"),
        (["-authgrant", "true"], "true"),  # to the original's flag library this is a switch, and an argument
        (["-authgrant", "2222:a:b:1"], "2222:a:b:1"),
        (["--nonsense"], "--nonsense"),
        (["--workers", "0"], "'0' is not auto or a whole number from 1 to 512"),
        (["--workers", "513"], "from 1 to 512"),
        (["--workers", "many"], "is not auto or"),
    ],
)
def test_what_cannot_be_meant_is_one_line_and_status_2(
    arguments: list[str], said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    status, line = complaint("proxy", *arguments, capfd=capfd)
    assert status == 2 and said in line


def test_an_address_in_use_is_one_line_and_status_1(capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        status, line = complaint("proxy", "-listen", where, "-authgrant", capfd=capfd)
    assert (status, line) == (1, f"hubble-proxy: cannot listen on {where}: Address already in use")


@pytest.mark.parametrize("option", ["-version", "--version"])
def test_version(option: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("proxy", option, capfd=capfd) == (0, f"hubble-proxy {__version__}\n", "")


@pytest.mark.parametrize(
    "arguments, chosen, warns",
    [
        ([], GrantAll, True),
        (["-authgrant"], GrantAll, False),
        (["--authgrant=true"], GrantAll, False),
        (["-authgrant=false"], GrantAll, True),
        (["-authdeny"], DenyAll, False),
        (["-authgrant=false", "-authdeny"], DenyAll, False),
    ],
)
def test_policies(arguments: list[str], chosen: type, warns: bool) -> None:
    options = parser().parse_args(arguments)
    assert type(policy(options)) is chosen
    assert lacks_policy(options) is warns


def test_limits_that_are_not_given_have_their_defaults() -> None:
    options = parser().parse_args(["--max-sessions", "7"])
    assert abuse_limits(options) == AbuseLimits(sessions=7)


def test_what_a_worker_finds_wrong_ends_the_start_with_its_words(capfd: pytest.CaptureFixture[str]) -> None:
    """The supervisor imports no policy: only a worker can know."""
    status, line = complaint("proxy", *BASE, "-auth-rules", "/nowhere/rules.toml", capfd=capfd)
    assert status == 2 and "/nowhere/rules.toml" in line


def test_connections_are_refused_until_a_worker_serves(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Else a proxy whose policy is broken would accept them, and never answer."""
    tried: list[int] = []

    class NoWorkers:
        def __init__(self, program: object, count: int, handover: Handover, control: Path, **options: object) -> None:
            assert handover.admin_listener is not None
            self._listeners = handover.listener, handover.admin_listener

        def run(self, *callbacks: object) -> None:
            for listener in self._listeners:
                with socket.socket() as client:
                    tried.append(client.connect_ex(listener.getsockname()))

    monkeypatch.setattr(proxy, "Supervisor", NoWorkers)
    proxy.main([*BASE, "-authgrant", "--admin", "127.0.0.1:0", "--runtime-dir", str(tmp_path / "run")])
    assert tried == [errno.ECONNREFUSED] * 2


def test_nobody_else_binds_before_a_worker_serves() -> None:
    with bind_listener("127.0.0.1", 0, listen=False) as bound:
        with pytest.raises(ListenError, match="Address already in use"):
            bind_listener("127.0.0.1", bound.getsockname()[1])
        begin_to_listen(bound)


def test_there_are_as_many_workers_as_cores_unless_told_otherwise() -> None:
    assert parser().parse_args([]).workers is None
    assert parser().parse_args(["--workers", "auto"]).workers == 0
    assert parser().parse_args(["--workers", "3"]).workers == 3


def test_the_help_names_the_commands() -> None:
    assert set(COMMANDS) == set(commands.COMMANDS)
    assert "hash-key" in parser().format_help()


def test_an_unknown_command(capfd: pytest.CaptureFixture[str]) -> None:
    status, line = complaint("proxy", "statsu", capfd=capfd)
    assert status == 2 and "unknown command 'statsu'; did you mean status?" in line
