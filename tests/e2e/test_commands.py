"""The command lines: readiness, exit statuses, complaints, and what the programs say in their logs."""

from __future__ import annotations

import http.client
import json
import signal
import socket

import pytest

from tests.support.commands import hubble
from tests.support.processes import TRACEBACK, ProxyProcess
from tests.support.services import Service, echo
from tests.support.sockets import assert_echo, connect, echoed
from tests.support.stage import Stage

NOBODY = "ws://127.0.0.1:1"  # nothing listens on port 1


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_programs_in_order(stage: Stage, signum: signal.Signals) -> None:
    service = stage.add(Service(echo))
    tunnel = stage.tunnel(service.port)
    assert_echo(tunnel.port())
    assert tunnel.entry.stop(signum) == 0
    assert tunnel.exit.stop(signum) == 0
    assert tunnel.proxy.stop(signum) == 0


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_an_agent_that_has_no_proxy(stage: Stage, signum: signal.Signals) -> None:
    agent = stage.agent(NOBODY, "lonely", registered=False)
    assert agent.stop(signum) == 0


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_proxy_while_agents_and_sessions_are_there(stage: Stage, signum: signal.Signals) -> None:
    service = stage.add(Service(echo))
    tunnel = stage.tunnel(service.port)
    with socket.create_connection(("127.0.0.1", tunnel.port())) as sock:
        sock.sendall(b"x")
        assert sock.recv(1) == b"x"
        assert tunnel.proxy.stop(signum) == 0


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["-url", NOBODY, "-name", "a", "nonsense"], "nonsense"),
        (["-url", NOBODY, "-name", "a", "70000:b:127.0.0.1:22"], "70000:b:127.0.0.1:22"),
        (["-url", NOBODY, "-name", "a", "0:b:127.0.0.1:0"], "0:b:127.0.0.1:0"),
        (["-url", NOBODY, "-name", "a", "0:b:127.0.0.1:65536"], "0:b:127.0.0.1:65536"),
        (["-url", NOBODY, "-name", "a", "0::127.0.0.1:22"], "0::127.0.0.1:22"),
        (["-url", NOBODY, "-name", "a", "2222:b:h:22", "2222:b:h:22"], "2222:b:h:22"),
        (["-url", NOBODY, "-name", ""], "name"),
        (["-url", "gopher://127.0.0.1:1", "-name", "a"], "gopher"),
        (["-url", NOBODY, "-name", "a", "--no-such-option"], "--no-such-option"),
        (["-name", "a"], "url"),
    ],
)
def test_a_usage_error_of_the_agent_is_one_line_and_status_2(arguments: list[str], named: str) -> None:
    result = hubble("hubble-agent", *arguments)
    assert result.returncode == 2, result.stderr
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    assert named in result.stderr


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["-listen", "127.0.0.1:70000", "-authgrant"], "70000"),
        (["-listen", "nonsense", "-authgrant"], "nonsense"),
        (["-authgrant", "-authdeny"], "-auth"),
        (["--no-such-option"], "--no-such-option"),
    ],
)
def test_a_usage_error_of_the_proxy_is_one_line_and_status_2(arguments: list[str], named: str) -> None:
    result = hubble("hubble-proxy", *arguments)
    assert result.returncode == 2, result.stderr
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    assert named in result.stderr


def test_an_agents_port_in_use_is_status_1_and_names_the_rule() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        rule = f"{taken.getsockname()[1]}:b:127.0.0.1:22"
        result = hubble("hubble-agent", "-url", NOBODY, "-name", "a", rule)
    assert result.returncode == 1, result.stderr
    assert rule in result.stderr
    assert TRACEBACK not in result.stderr


def test_a_proxys_port_in_use_is_status_1_and_names_the_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        result = hubble("hubble-proxy", "-listen", address, "-authgrant")
    assert result.returncode == 1, result.stderr
    assert address in result.stderr
    assert TRACEBACK not in result.stderr


def test_an_agent_told_to_exit_on_failure_does() -> None:
    result = hubble("hubble-agent", "-url", NOBODY, "-name", "a", "--exit-on-failure")
    assert result.returncode == 1, result.stderr
    assert TRACEBACK not in result.stderr


@pytest.mark.parametrize("program", ["hubble-proxy", "hubble-agent"])
@pytest.mark.parametrize("option", ["-h", "--help", "-version", "--version"])
def test_help_and_version_go_to_standard_output(program: str, option: str) -> None:
    result = hubble(program, option)
    assert result.returncode == 0
    assert result.stdout
    assert not result.stderr


@pytest.mark.parametrize("style", ["-{}={}", "--{}={}", "-{} {}", "--{} {}"])
def test_options_are_written_in_any_style(stage: Stage, style: str) -> None:
    proxy = stage.proxy(*style.format("log-level", "debug").split(), "-authgrant")
    agent = stage.agent(proxy.url, "a", *style.format("key", "sesame").split())
    agent.log.wait_for("registered as a")


@pytest.fixture
def plain_http(stage: Stage) -> http.client.HTTPConnection:
    return stage.add(http.client.HTTPConnection("127.0.0.1", stage.proxy().port, timeout=10))


def test_a_plain_http_request_is_told_to_upgrade(plain_http: http.client.HTTPConnection) -> None:
    plain_http.request("GET", "/")
    response = plain_http.getresponse()
    assert response.status == 426
    assert response.headers["Upgrade"].lower() == "websocket"
    assert b"Traceback" not in response.read()


def test_the_proxy_tells_its_health(plain_http: http.client.HTTPConnection) -> None:
    plain_http.request("GET", "/healthz")
    assert plain_http.getresponse().status == 200


def test_a_proxy_without_an_authorization_option_warns(stage: Stage) -> None:
    proxy = ProxyProcess(stage.directory)
    stage.processes.append(proxy)
    proxy.start()
    proxy.log.wait_for("(?i)warn.*grant|grant.*warn")


def test_json_logs_have_a_time_a_level_and_a_message(stage: Stage) -> None:
    service = stage.add(Service(echo))
    options = ["--log-format", "json", "--log-level", "debug"]
    tunnel = stage.tunnel(service.port, proxy_options=options, entry_options=options, exit_options=options)
    assert_echo(tunnel.port())
    for process in tunnel.processes:
        process.stop()
        assert process.log.lines
        for line in process.log.lines:
            assert {"time", "level", "message"} <= json.loads(line).keys()
    told = [json.loads(line) for line in tunnel.proxy.log.lines]
    registered = [entry for entry in told if "registered from" in entry["message"]]
    assert {(entry["gateway"], entry["worker"]) for entry in registered} == {("exit", 0), ("entry", 0)}
    assert any("worker" not in entry for entry in told)  # the supervisor's own


def test_a_key_is_in_no_log(stage: Stage) -> None:
    service = stage.add(Service(echo))
    options = ["--log-level", "debug"]
    proxy = stage.proxy(*options)
    secret = "open-sesame"
    stage.agent(proxy.url, "exit", "-key", secret, *options)
    entry = stage.agent(proxy.url, "entry", "-key", secret, *options, f"0:{secret}@exit:127.0.0.1:{service.port}")
    assert_echo(entry.port())
    for process in stage.processes:
        process.stop()
        assert secret not in process.log.text


def test_the_ports_file_tells_every_rule_without_its_key(stage: Stage) -> None:
    given = ["0:b:127.0.0.1:22", "[::1]:0:sesame@b:[::1]:22", "127.0.0.2:0:b:host:1"]
    rules = stage.agent(NOBODY, "a", *given, registered=False).ports()["rules"]
    assert [rule["bind"] for rule in rules] == ["127.0.0.1", "::1", "127.0.0.2"]
    assert all(rule["port"] > 0 for rule in rules)
    assert rules[0]["rule"] == given[0]
    assert rules[1]["rule"].endswith("@b:[::1]:22")
    assert "sesame" not in rules[1]["rule"]
    assert rules[2]["rule"] == given[2]


def test_sigusr1_logs_what_the_greenlets_do(stage: Stage) -> None:
    service = stage.add(Service(echo))
    tunnel = stage.tunnel(service.port)
    before = tunnel.entry.greenlets()
    with connect(tunnel.port()) as sock:
        assert echoed(sock, b"hello") == b"hello"
        assert tunnel.entry.greenlets() <= before  # a session needs none
    tunnel.entry.log.wait_for("Keeper")
    assert tunnel.proxy.greenlets() >= 4  # the supervisor forwards the signal to its worker


def test_the_proxy_logs_where_it_listens(stage: Stage) -> None:
    proxy = stage.proxy()
    proxy.log.wait_for(rf"listening on http://127\.0\.0\.1:{proxy.port}\b")
