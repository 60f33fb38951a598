"""Policy in the running programs: scripts, rules, revocation, limits, and what the exit allows."""

from __future__ import annotations

from pathlib import Path

import pytest

from hubble.policy.keys import hash_key
from tests.support.commands import hubble
from tests.support.services import Service, echo
from tests.support.sockets import assert_echo, assert_reset, connect, echoed
from tests.support.stage import Stage

GRANT = "function connect(request) return true end\n"
DENY = "function connect(request) return false end\n"

RULES = """
[[identity]]
name = "office"
key = "{entry}"
register = "entry"

[[identity]]
name = "lab"
key = "{exit}"
register = "exit"

[[rule]]
name = "the office reaches the echo service"
identity = "office"
gateway = "exit"
port = {port}
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "policy.lua"
    path.write_text(GRANT)
    return path


def test_a_script_decides_and_a_live_session_is_revoked_when_it_changes(stage: Stage, script: Path) -> None:
    tunnel = stage.tunnel(stage.add(Service(echo)).port, proxy_options=["-authlua", str(script)])
    with connect(tunnel.port()) as sock:
        assert echoed(sock, b"x") == b"x"
        script.write_text(DENY)
        assert_reset(sock, within=10)
    tunnel.entry.log.wait_for("revoked by the policy")
    with connect(tunnel.port()) as sock:
        assert_reset(sock, within=10)
    tunnel.entry.log.wait_for("refused: Unauthorized")


def test_a_broken_script_stops_the_start_and_a_broken_change_changes_nothing(stage: Stage, script: Path) -> None:
    tunnel = stage.tunnel(stage.add(Service(echo)).port, proxy_options=["-authlua", str(script)])
    script.write_text("function connect(request) return tru")
    tunnel.proxy.log.wait_for("policy.lua")
    assert_echo(tunnel.port())
    assert tunnel.proxy.stop() == 0
    again = hubble("hubble-proxy", "-listen", "127.0.0.1:0", "-authlua", str(script))
    assert again.returncode == 2 and again.stderr.startswith(f"hubble-proxy: authorization script {script}:1: ")


def test_rules_in_a_file_tell_the_agents_apart_by_their_keys(stage: Stage, tmp_path: Path) -> None:
    service, rules, key_file = stage.add(Service(echo)), tmp_path / "rules.toml", tmp_path / "key"
    rules.write_text(RULES.format(entry=hash_key("sesame"), exit=hash_key("barley"), port=service.port))
    key_file.write_text("barley\n")
    proxy = stage.proxy("--auth-rules", str(rules))
    stranger = stage.agent(proxy.url, "exit", "-key", "oats", registered=False, log_name="stranger")
    stranger.log.wait_for("refused the registration as exit: Unauthorized")
    stage.agent(proxy.url, "exit", "--key-file", str(key_file))
    destinations = [f"0:exit:127.0.0.1:{port}" for port in (service.port, proxy.port)]
    entry = stage.agent(proxy.url, "entry", "-key", "sesame", *destinations)
    assert_echo(entry.port(0))
    with connect(entry.port(1)) as sock:
        assert_reset(sock, within=10)
    for process in stage.processes:
        assert not any(key in process.log.text for key in ("sesame", "barley", "oats"))


def test_a_rules_key_may_stand_in_a_file(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("tulip\n")
    script = tmp_path / "keyed.lua"
    script.write_text('function connect(request) return request:key() == "tulip" end\n')
    proxy = stage.proxy("-authlua", str(script))
    stage.agent(proxy.url, "exit")
    service = stage.add(Service(echo))
    entry = stage.agent(proxy.url, "entry", f"0:@file:{tmp_path / 'key'}@exit:127.0.0.1:{service.port}")
    assert_echo(entry.port())


def test_a_gateway_may_not_have_more_sessions_than_allowed(stage: Stage) -> None:
    tunnel = stage.tunnel(stage.add(Service(echo)).port, proxy_options=["--max-sessions", "1"])
    with connect(tunnel.port()) as first:
        assert echoed(first, b"x") == b"x"  # it is open before the other is asked for
        with connect(tunnel.port()) as second:
            assert_reset(second, within=20)
        assert echoed(first, b"y") == b"y"
    tunnel.entry.log.wait_for(r"has reached its session limit \(1\)")


def test_the_exit_has_its_own_say(stage: Stage) -> None:
    allowed, other = stage.add(Service(echo)), stage.add(Service(echo))
    tunnel = stage.tunnel(
        allowed.port, other.port, exit_options=["--allow", f"127.0.0.1:{allowed.port}"]
    )  # fmt: skip
    assert_echo(tunnel.port(0))
    with connect(tunnel.port(1)) as sock:
        assert_reset(sock, within=10)
    tunnel.entry.log.wait_for("no --allow names it")
