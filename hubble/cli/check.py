"""hubble-agent check."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence

from hubble.agent.check.check import Check, Step
from hubble.agent.options import AgentOptions
from hubble.base.errors import UsageError
from hubble.cli import logs
from hubble.cli.arguments import Parser
from hubble.cli.dial_options import dial_options
from hubble.cli.keys import read_key
from hubble.cli.running import FAILURE, SUCCESS, run
from hubble.options.agent import CHECK
from hubble.transport.dial.dial import check_usage, parse_url

PROGRAM = "hubble-agent check"
VERDICTS = {True: "ok", False: "FAILED", None: "-"}


def main(arguments: Sequence[str]) -> int:
    """Check the path to each proxy. Return the exit status."""
    options = parser().parse_args(arguments)
    logs.set_up(options.log_level, options.log_format)
    statuses: list[int] = []
    status = run(PROGRAM, lambda: statuses.append(_check(options)))
    return status or max(statuses)


def parser() -> Parser:
    """Return the parser of the check's options."""
    parser = Parser(PROGRAM, "Test the path to the proxy phase by phase, with advice where it fails.", CHECK)
    parser.set_defaults(log_level="error")
    return parser


def _check(options: Namespace) -> int:
    if not options.url:
        raise UsageError("the proxy's URL is missing; give -url")
    agent_options = AgentOptions(dial=dial_options(options))
    checks = []
    for url in options.url:
        check_usage(parse_url(url), agent_options.dial)
        checks.append((parse_url(url), Check(url, options.name or "", read_key(options), agent_options)))
    status = SUCCESS
    for target, check in checks:
        print(f"{target}", flush=True)
        for step in check.run():
            print(_line(step), flush=True)
            status = FAILURE if step.ok is False else status
    return status


def _line(step: Step) -> str:
    took = "" if step.ok is None else f"{step.seconds * 1000:,.0f} ms"
    return f"{step.name:<13}{VERDICTS[step.ok]:<7}{took:>10}  {step.text}".rstrip()
