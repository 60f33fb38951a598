from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest
from gevent import socket

from hubble import __version__
from hubble.agent.agent import Agent
from hubble.agent.options import AgentOptions
from hubble.cli import agent
from hubble.protocol.messages import Initiator
from hubble.transport.link import queued_in_process
from tests.cli.programs import complaint, run, serving
from tests.support.fakeproxy import FakeProxy
from tests.support.sockets import connect

URL = "ws://127.0.0.1:1"
BASE = ("-url", URL, "-name", "agent")


@pytest.fixture
def fake() -> Iterator[FakeProxy]:
    fake = FakeProxy()
    yield fake
    fake.close()


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["-name", "agent"], "the proxy's URL is missing; give -url"),
        (["-url", URL], "a name is missing; give -name"),
        (["-url", URL, "-name", ""], "a name is missing; give -name"),
        (["-url", "gopher://host", "-name", "agent"], "unknown scheme 'gopher'"),
        (["-url", "localhost:8080", "-name", "agent"], "has no scheme"),
        ([*BASE, "nonsense"], 'rule "nonsense": the destination is missing; write'),
        ([*BASE, "1:a:b:1", "-log-level", "error", "1:a:b:1"], "rule 1:a:b:1 is given twice"),
        ([*BASE, "65536:a:b:1"], "the port 65536 is out of range; write 0 to 65535"),
        ([*BASE, "-key", "k", "-key-file", "f"], "-key and -key-file exclude each other"),
        ([*BASE, "-key-file", "/nowhere/key"], "the key file /nowhere/key cannot be read"),
        ([*BASE, "-ca", "/nowhere/ca.pem"], "/nowhere/ca.pem"),
        ([*BASE, "-link-wait", "never"], "'never' is not a number of seconds above 0"),
        ([*BASE, "-credit", "lots"], "'lots' is not a number of bytes"),
        ([*BASE, "--nonsense"], "--nonsense"),
    ],
)
def test_what_cannot_be_meant_is_one_line_and_status_2(
    arguments: list[str], said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    if "-ca" in arguments:
        arguments[1] = "wss://127.0.0.1:1"
    status, line = complaint("agent", *arguments, capfd=capfd)
    assert status == 2 and said in line


def test_a_port_in_use_is_one_line_and_status_1(capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, line = complaint("agent", *BASE, f"{port}:s3cret@a:b:1", capfd=capfd)
    assert status == 1
    assert line == f"hubble-agent: rule {port}:***@a:b:1: cannot listen on 127.0.0.1:{port}: Address already in use"


@pytest.mark.parametrize("switch", [["-exit-on-failure"], ["--exit-on-failure=true"]])
def test_a_failure_to_register_is_one_line_and_status_1(switch: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    status, line = complaint("agent", *BASE, *switch, "0:a:b:1", "-log-level", "error", capfd=capfd)
    assert status == 1 and "cannot connect to" in line


def test_a_refusal_is_one_line_and_status_1(fake: FakeProxy, capfd: pytest.CaptureFixture[str]) -> None:
    gevent.spawn(lambda: fake.call().refuse("Unauthorized"))
    said = run("agent", "-url", fake.url, "-name", "agent", "-key", "s3cret", "--exit-on-failure", capfd=capfd)
    assert said.status == 1
    assert said.err.splitlines()[-1] == "hubble-agent: Unauthorized"
    assert "refused the registration as agent: Unauthorized" in said.err
    assert "s3cret" not in said.err


@pytest.mark.parametrize("option", ["-version", "--version"])
def test_version(option: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("agent", option, capfd=capfd) == (0, f"hubble-agent {__version__}\n", "")


def test_help(capfd: pytest.CaptureFixture[str]) -> None:
    said = run("agent", "-h", capfd=capfd)
    assert said.status == 0 and said.err == ""
    assert "[bind:]port:[key@]gateway:host:port" in said.out


def test_serves_its_rules_and_tells_their_ports(
    fake: FakeProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ("0:s3cret@a:b:1", "-url", fake.url, "[::1]:0:c:d:2", "-name=agent")
    with serving(*arguments, tmp_path=tmp_path, monkeypatch=monkeypatch) as ports:
        first, second = ports["rules"]
        assert (first["rule"], first["bind"]) == ("0:***@a:b:1", "127.0.0.1")
        assert (second["rule"], second["bind"]) == ("[::1]:0:c:d:2", "::1")
        call = fake.accept()
        assert call.hello is not None and call.hello.name == "agent"
        with connect(first["port"]):
            call.hear(Initiator)  # so it is registered
    err = capfd.readouterr().err
    assert "s3cret" not in err and "registered as agent" in err


class TestTheKey:
    @pytest.mark.parametrize("arguments", [["-key", "s3cret:@"], ["--key=s3cret:@"]])
    def test_on_the_command_line(self, arguments: list[str], fake: FakeProxy) -> None:
        assert self.said(fake, arguments) == "s3cret:@"

    @pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
    def test_in_a_file(self, ending: str, fake: FakeProxy, tmp_path: Path) -> None:
        file = tmp_path / "key"
        file.write_bytes(b"s3cret \xc3\xbc" + ending.encode())
        assert self.said(fake, ["-key-file", str(file)]) == "s3cret ü"

    def test_in_the_environment(self, fake: FakeProxy, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HUBBLE_KEY", "s3cret")
        assert self.said(fake, []) == "s3cret"

    def test_the_command_line_goes_before_the_environment(
        self, fake: FakeProxy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HUBBLE_KEY", "another")
        assert self.said(fake, ["-key", ""]) == ""

    def test_none_at_all(self, fake: FakeProxy) -> None:
        assert self.said(fake, []) == ""

    @pytest.fixture(autouse=True)
    def where(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("HUBBLE_KEY", raising=False)
        self.kit = {"tmp_path": tmp_path, "monkeypatch": monkeypatch}

    def said(self, fake: FakeProxy, arguments: list[str]) -> str:
        """The key with which the agent registers."""
        with serving("-url", fake.url, "-name", "agent", *arguments, **self.kit):  # type: ignore[arg-type]
            hello = fake.accept().hello
            assert hello is not None
            return hello.key


def test_each_option_gets_where_it_belongs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made: list[AgentOptions] = []

    class Noting(Agent):
        def __init__(self, *arguments: object, options: AgentOptions, **more: object) -> None:
            made.append(options)
            super().__init__(*arguments, options=options, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(agent, "Agent", Noting)
    arguments = [
        *("-link-wait", "1", "-dial-timeout", "2", "-resume-timeout", "3", "-credit", "4K", "-credit-most", "5K"),
        *("-credit-per-link", "6K", "-credit-per-process", "7K", "-waiting-sessions", "8", "-waiting-bytes", "9K"),
        *("-ping-interval", "10"),
    ]
    with serving(*BASE, *arguments, tmp_path=tmp_path, monkeypatch=monkeypatch):
        (options,) = made
    assert (options.link_wait, options.dial_timeout, options.resume_timeout) == (1, 2, 3)
    assert (options.initial_window, options.largest_window) == (4 << 10, 5 << 10)
    assert (options.link_budget, options.process_budget) == (6 << 10, 7 << 10)
    assert (options.waiting_sessions, options.waiting_bytes) == (8, 9 << 10)
    assert options.keepalive.interval == 10 and not options.exit_on_failure


def test_the_defaults_are_the_librarys() -> None:
    options = agent._agent_options(agent.parser().parse_args([]))
    assert options == AgentOptions()


def test_the_cap_of_queued_bytes_is_that_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queued_in_process, "most", queued_in_process.most)
    assert agent.main(["-url", "gopher://host", "-name", "agent", "--max-queued", "3M"]) == 2
    assert queued_in_process.most == 3 << 20
