from __future__ import annotations

from pathlib import Path

import pytest

from hubble.agent.options import AgentOptions
from hubble.options import admin, agent, proxy
from hubble.options.option import FLAG, Group
from hubble.options.reference import reference
from hubble.policy import Limits
from hubble.proxy.gateways.limits import AbuseLimits
from hubble.transport.link import Keepalive

PAGE = Path(__file__).resolve().parents[2] / "docs" / "options.md"
PROGRAMS: dict[str, tuple[Group, ...]] = {
    "hubble-agent": agent.AGENT,
    "hubble-agent check": agent.CHECK,
    "hubble-proxy": proxy.PROXY,
    **{f"hubble-proxy {name}": command.groups for name, command in admin.COMMANDS.items()},
}


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference(), "run: make options"


@pytest.mark.parametrize("groups", PROGRAMS.values(), ids=PROGRAMS)
def test_descriptions_are_well_formed(groups: tuple[Group, ...]) -> None:
    options = [option for group in groups for option in group.options]
    assert len({option.name for option in options}) == len(options)
    for option in options:
        assert option.help.endswith("."), option.name
        assert not option.help.startswith(option.name), option.name
        assert option.kind is not FLAG or option.default is None, option.name


def defaults(groups: tuple[Group, ...]) -> dict[str, object]:
    return {option.name: option.default for group in groups for option in group.options if option.default is not None}


def test_the_agents_defaults_are_those_in_force() -> None:
    known, real = defaults(agent.AGENT), AgentOptions()
    assert known["link-wait"] == real.link_wait
    assert known["dial-timeout"] == real.dial_timeout
    assert known["resume-timeout"] == real.resume_timeout
    assert known["credit"] == real.initial_window
    assert known["credit-most"] == real.largest_window
    assert known["credit-per-link"] == real.link_budget
    assert known["credit-per-process"] == real.process_budget
    assert known["waiting-sessions"] == real.waiting_sessions
    assert known["waiting-bytes"] == real.waiting_bytes
    assert f"{Keepalive.every(None).interval:g} s" == "20 s"


def test_the_proxys_defaults_are_those_in_force() -> None:
    known, script, abuse = defaults(proxy.PROXY), Limits(), AbuseLimits()
    assert known["lua-time"] == script.total
    assert known["lua-cpu"] == script.cpu
    assert known["lua-memory"] == script.memory
    assert known["max-sessions"] == abuse.sessions
    assert known["max-rate"] == abuse.sessions_per_second
    assert known["max-registrations"] == abuse.registrations_per_minute
    assert known["max-strangers"] == abuse.strangers
