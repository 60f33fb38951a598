"""hubble-agent."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from argparse import Namespace
from collections.abc import Sequence

from hubble.agent.access import AccessList
from hubble.agent.agent import Agent
from hubble.agent.options import AgentOptions
from hubble.agent.rules import FORM, Rule
from hubble.base.errors import UsageError
from hubble.cli import check, logs
from hubble.cli.arguments import Parser, admin_address
from hubble.cli.dial_options import dial_options
from hubble.cli.eventloop import (
    keep_buffers,
    log_greenlets_on_signal,
    spare_the_collector,
    stop_on_signals,
    survive_signals,
)
from hubble.cli.keys import read_key, read_key_file
from hubble.cli.running import run, write_ports
from hubble.options.agent import AGENT
from hubble.transport import resolver
from hubble.transport.dial.dial import check_usage, parse_url
from hubble.transport.endpoint import endpoint
from hubble.transport.link import Keepalive, queued_in_process
from hubble.transport.listen import open_listener

PROGRAM = "hubble-agent"
KEY_FILE = "@file:"
LONGEST_STOP = 1.9
"""Seconds after SIGTERM or SIGINT within which the process always ends."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the agent or its check. Return the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    if list(given[:1]) == ["check"]:
        return check.main(given[1:])
    options = parser().parse_intermixed_args(given)
    logs.set_up(options.log_level, options.log_format)
    return run(PROGRAM, lambda: _serve(options))


def parser() -> Parser:
    """Return the parser of the agent's options."""
    parser = Parser(
        PROGRAM,
        "The side of Hubble in a private network: it dials out to the proxy, forwards local ports by its RULEs, and "
        "connects sessions of other agents to destinations near it.",
        AGENT,
        f"A RULE forwards a local port: {FORM}. `{PROGRAM} check` tests the path to the proxy.",
    )
    parser.add_argument("rules", nargs="*", metavar="RULE", help=argparse.SUPPRESS)
    return parser


def _serve(options: Namespace) -> None:
    for name, what in (("url", "the proxy's URL"), ("name", "a name")):
        if not getattr(options, name):
            raise UsageError(f"{what} is missing; give -{name}")
    agent_options = _agent_options(options)
    queued_in_process.most = options.max_queued
    for url in options.url:
        check_usage(parse_url(url), agent_options.dial)
    access = AccessList(options.allow or (), options.deny or ())
    rules = [_with_key_from_file(Rule.parse(text)) for text in options.rules]
    agent = Agent(options.url, options.name, rules, key=read_key(options), options=agent_options, forbids=access.check)
    stop_on_signals(agent.stop, within=LONGEST_STOP)
    survive_signals()
    log_greenlets_on_signal()
    spare_the_collector()
    keep_buffers()
    resolver.install()
    metrics = open_listener(*admin_address(options.metrics, "--metrics")) if options.metrics else None
    listening = agent.start()
    ports = [{"rule": str(rule), "bind": address, "port": port} for rule, address, port in listening]
    if metrics is not None:
        agent.serve_metrics(metrics)
    more = {"metrics": endpoint(*metrics.getsockname()[:2])} if metrics is not None else {}
    write_ports(options.ports_file, {"rules": ports, **more})
    agent.wait()


def _with_key_from_file(rule: Rule) -> Rule:
    """Return the rule, with its key read from the file if the key is `@file:path`."""
    if not rule.key.startswith(KEY_FILE):
        return rule
    return dataclasses.replace(rule, key=read_key_file(rule.key.removeprefix(KEY_FILE)))


def _agent_options(options: Namespace) -> AgentOptions:
    return AgentOptions(
        link_wait=options.link_wait,
        dial_timeout=options.dial_timeout,
        max_pending=options.max_pending,
        max_dials=options.max_dials,
        max_sessions=options.max_sessions,
        resume_timeout=options.resume_timeout,
        initial_window=options.credit,
        largest_window=options.credit_most,
        link_budget=options.credit_per_link,
        process_budget=options.credit_per_process,
        waiting_sessions=options.waiting_sessions,
        waiting_bytes=options.waiting_bytes,
        exit_on_failure=options.exit_on_failure,
        dial=dial_options(options),
        keepalive=Keepalive.every(options.ping_interval),
    )
