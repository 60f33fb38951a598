"""hubble-agent."""

from __future__ import annotations

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
from hubble.cli.arguments import Parser, admin_address, seconds, size
from hubble.cli.dial_options import add_dial_options, dial_options
from hubble.cli.hub import spare_the_collector, stop_on_signals, tell_greenlets_on_signal
from hubble.cli.keys import add_key_options, read_key, read_key_file
from hubble.cli.running import run, write_ports
from hubble.transport.dial.dial import check_usage, parse_url
from hubble.transport.endpoint import endpoint
from hubble.transport.link import Keepalive
from hubble.transport.listen import open_listener

PROGRAM = "hubble-agent"
KEY_FILE = "@file:"
DEFAULT = AgentOptions()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the agent, or its check; the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    if list(given[:1]) == ["check"]:
        return check.main(given[1:])
    options = parser().parse_intermixed_args(given)
    logs.set_up(options.log_level, options.log_format)
    return run(PROGRAM, lambda: _serve(options))


def parser() -> Parser:
    """The agent's arguments."""
    parser = Parser(
        PROGRAM,
        "The side of Hubble in a private network: dials out to the proxy. `hubble-agent check` tries the way there.",
    )
    parser.add_argument("rules", nargs="*", metavar="RULE", help=f"{FORM}: forward a local port")
    parser.option(
        "url", action="append", metavar="URL", help="the proxy: ws://host:port or wss://host; may be given again"
    )
    parser.option("name", metavar="NAME", help="the gateway name to register")
    add_key_options(parser)
    add_dial_options(parser)
    parser.option("allow", action="append", metavar="HOST:PORT",
                  help="connect to this only; may be repeated (docs/policy.md)")  # fmt: skip
    parser.option("deny", action="append", metavar="HOST:PORT", help="never connect to this; may be repeated")
    parser.option("ping-interval", type=seconds, metavar="S", help="how often an idle link is pinged; 20 unless given")
    parser.option("link-wait", type=seconds, default=DEFAULT.link_wait, metavar="S",
                  help="how long a new connection waits for a link to the proxy")  # fmt: skip
    parser.option("dial-timeout", type=seconds, default=DEFAULT.dial_timeout, metavar="S",
                  help="how long a destination may take to answer")  # fmt: skip
    parser.option("resume-timeout", type=seconds, default=DEFAULT.resume_timeout, metavar="S",
                  help="how long a session waits for its lost path to come back")  # fmt: skip
    parser.option("credit", type=size, default=DEFAULT.initial_window, metavar="BYTES",
                  help="what a session may have on its way to begin with")  # fmt: skip
    parser.option("credit-most", type=size, default=DEFAULT.largest_window, metavar="BYTES",
                  help="what a fast session's credit may grow to")  # fmt: skip
    parser.option("credit-per-link", type=size, default=DEFAULT.link_budget, metavar="BYTES",
                  help="the credit of all sessions of a link")  # fmt: skip
    parser.option("credit-per-process", type=size, default=DEFAULT.process_budget, metavar="BYTES",
                  help="the credit, and what is kept for resumption, of all sessions")  # fmt: skip
    parser.option("waiting-sessions", type=size, default=DEFAULT.waiting_sessions, metavar="N",
                  help="how many sessions may wait for their path")  # fmt: skip
    parser.option("waiting-bytes", type=size, default=DEFAULT.waiting_bytes, metavar="BYTES",
                  help="what they may keep meanwhile")  # fmt: skip
    parser.option("metrics", metavar="ADDRESS",
                  help="[host]:port of /metrics for Prometheus; the host is 127.0.0.1 unless given")  # fmt: skip
    parser.switch("exit-on-failure", help="end if the first registration fails, instead of trying again")
    return parser


def _serve(options: Namespace) -> None:
    for name, what in (("url", "the proxy's URL"), ("name", "a name")):
        if not getattr(options, name):
            raise UsageError(f"{what} is missing: give -{name}")
    agent_options = _agent_options(options)
    for url in options.url:
        check_usage(parse_url(url), agent_options.dial)
    access = AccessList(options.allow or (), options.deny or ())
    rules = [_with_key_from_file(Rule.parse(text)) for text in options.rules]
    agent = Agent(options.url, options.name, rules, key=read_key(options), options=agent_options, forbids=access.check)
    stop_on_signals(agent.stop)
    tell_greenlets_on_signal()
    spare_the_collector()
    metrics = open_listener(*admin_address(options.metrics, "--metrics")) if options.metrics else None
    listening = agent.start()
    ports = [{"rule": str(rule), "bind": address, "port": port} for rule, address, port in listening]
    if metrics is not None:
        agent.serve_metrics(metrics)
    more = {"metrics": endpoint(*metrics.getsockname()[:2])} if metrics is not None else {}
    write_ports(options.ports_file, {"rules": ports, **more})
    agent.wait()


def _with_key_from_file(rule: Rule) -> Rule:
    """The rule, with the key that its file holds if it says `@file:path`."""
    if not rule.key.startswith(KEY_FILE):
        return rule
    return dataclasses.replace(rule, key=read_key_file(rule.key.removeprefix(KEY_FILE)))


def _agent_options(options: Namespace) -> AgentOptions:
    return AgentOptions(
        link_wait=options.link_wait,
        dial_timeout=options.dial_timeout,
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
