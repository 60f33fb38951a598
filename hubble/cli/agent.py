"""hubble-agent."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from hubble.agent.agent import Agent
from hubble.agent.options import AgentOptions
from hubble.agent.rules import FORM
from hubble.cli import logs
from hubble.cli.arguments import Parser, seconds, size
from hubble.cli.running import run, stop_on_signals, write_ports
from hubble.errors import UsageError
from hubble.transport.dial import DialOptions
from hubble.transport.tls import TLSOptions

PROGRAM = "hubble-agent"
DEFAULT = AgentOptions()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the agent; the exit status."""
    options = parser().parse_intermixed_args(arguments)
    logs.set_up(options.log_level, options.log_format)
    return run(PROGRAM, lambda: _serve(options))


def parser() -> Parser:
    """The agent's arguments."""
    parser = Parser(PROGRAM, "The side of Hubble in a private network: dials out to the proxy.")
    parser.add_argument("rules", nargs="*", metavar="RULE", help=f"{FORM}: forward a local port")
    parser.option(
        "url", action="append", metavar="URL", help="the proxy: ws://host:port or wss://host; may be given again"
    )
    parser.option("name", metavar="NAME", help="the gateway name to register")
    parser.option("key", metavar="KEY", help="the key to register with; better by --key-file or HUBBLE_KEY")
    parser.option("key-file", metavar="FILE", help="read the key to register with from FILE")
    parser.option("ca", metavar="FILE", help="trust the certificate authorities in FILE (PEM) for wss://")
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
    parser.switch("exit-on-failure", help="end if the first registration fails, instead of trying again")
    return parser


def _serve(options: Namespace) -> None:
    for name, what in (("url", "the proxy's URL"), ("name", "a name")):
        if not getattr(options, name):
            raise UsageError(f"{what} is missing: give -{name}")
    agent = Agent(options.url, options.name, options.rules, key=_key(options), options=_agent_options(options))
    stop_on_signals(agent.stop)
    listening = agent.start()
    rules = [{"rule": str(rule), "bind": address, "port": port} for rule, address, port in listening]
    write_ports(options.ports_file, {"rules": rules})
    agent.wait()


def _key(options: Namespace) -> str:
    if options.key is not None and options.key_file is not None:
        raise UsageError("-key and -key-file exclude each other: give one of them")
    if options.key_file is None:
        return str(options.key if options.key is not None else os.environ.get("HUBBLE_KEY", ""))
    try:
        return Path(options.key_file).read_text().strip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the key file {options.key_file} cannot be read: {error}") from error


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
        dial=DialOptions(tls=TLSOptions(ca_file=options.ca)),
    )
