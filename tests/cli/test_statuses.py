"""The exit statuses of docs/operating.md: 0, 1, 2 and 130, whatever status an HTTP server sent."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest
from gevent import socket
from gevent.server import StreamServer

from hubble.base.errors import HubbleError, RegistrationInvalid, UsageError
from hubble.cli import running
from hubble.protocol.messages import Refusal
from hubble.transport.dial.dial import UpgradeRefused
from hubble.transport.dial.outproxy import ProxyRefused
from tests.cli.programs import complaint, run
from tests.support.fakeproxy import FakeProxy

DOCUMENTED = Path(__file__).parents[2] / "docs" / "operating.md"


@pytest.fixture
def fake() -> Iterator[FakeProxy]:
    fake = FakeProxy()
    yield fake
    fake.close()


def subclasses(of: type[HubbleError]) -> list[type[HubbleError]]:
    return [each for direct in of.__subclasses__() for each in (direct, *subclasses(direct))]


def test_no_error_but_a_usage_error_ends_a_program_with_another_status_than_1() -> None:
    every: list[type[HubbleError]] = [HubbleError, *subclasses(HubbleError)]
    for error in every:
        wrong_use = issubclass(error, UsageError | RegistrationInvalid)
        assert error.status == (2 if wrong_use else 1), error


@pytest.mark.parametrize("error", [UpgradeRefused("no", 404), ProxyRefused("no", 407)], ids=repr)
def test_an_http_status_is_no_exit_status(error: UpgradeRefused | ProxyRefused) -> None:
    def work() -> None:
        raise error

    assert running.run("program", work) == 1
    assert error.http_status in (404, 407)


@pytest.mark.parametrize("http_status", [200, 302, 403, 404, 500])
@pytest.mark.parametrize("through_proxy", [False, True])
def test_a_web_server_instead_of_the_proxy_is_status_1(
    http_status: int, through_proxy: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    def answer(sock: socket.socket, _: object) -> None:
        sock.recv(65536)
        sock.sendall(b"HTTP/1.1 %d What\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % http_status)
        sock.close()

    server = StreamServer(("127.0.0.1", 0), answer)
    server.start()
    here = f"127.0.0.1:{server.server_port}"
    way = ("-url", "ws://192.0.2.1", "--proxy", f"http://{here}") if through_proxy else ("-url", f"ws://{here}")
    status, line = complaint("agent", *way, "-name", "agent", "-exit-on-failure", capfd=capfd)
    server.stop()
    assert status == 1
    assert through_proxy or f"refused the upgrade: {http_status}" in line


@pytest.mark.parametrize(
    "name", ["a:b", "a@b", " a", "a ", "a\u202eb", "a\u200bb", "a\u2028b", "a\x85b", "a\ud800b", "x" * 256]
)
def test_a_name_that_no_proxy_accepts_is_status_2_before_anything_is_dialled(
    name: str, fake: FakeProxy, capfd: pytest.CaptureFixture[str]
) -> None:
    status, line = complaint("agent", "-url", fake.url, "-name", name, capfd=capfd)
    assert status == 2 and "the gateway name" in line and line.isprintable()
    gevent.idle()
    assert fake.calls_waiting == 0


def test_so_is_a_key_with_a_control_character(capfd: pytest.CaptureFixture[str]) -> None:
    status, line = complaint("agent", "-url", "ws://h", "-name", "agent", "-key", "s3\ncret", capfd=capfd)
    assert (status, "the key contains a control character" in line, "cret" in line) == (2, True, False)


@pytest.mark.parametrize("command", ["agent", "check"])
def test_a_check_says_the_same(command: str, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = [*(["check"] if command == "check" else []), "-url", "ws://127.0.0.1:1", "-name", "a:b"]
    said = run("agent", *arguments, capfd=capfd)
    assert said.status == 2 and 'the gateway name "a:b" contains ":"' in said.err


def test_an_agent_does_not_go_on_asking_a_proxy_that_finds_its_name_invalid(
    fake: FakeProxy, capfd: pytest.CaptureFixture[str]
) -> None:
    gevent.spawn(lambda: fake.call().refuse("the gateway name is not to my taste", Refusal.BAD_REQUEST))
    said = run("agent", "-url", fake.url, "-name", "agent", capfd=capfd)
    assert said.status == 2
    assert said.err.splitlines()[-1] == "hubble-agent: the gateway name is not to my taste"
    assert fake.calls_waiting == 0


def test_the_table_names_each() -> None:
    section = DOCUMENTED.read_text().split("## Check the exit status")[1].split("\n## ")[0]
    assert re.findall(r"^\| (\d+) \|", section, re.MULTILINE) == ["0", "1", "2", "130"]
