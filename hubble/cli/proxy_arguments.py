"""The command line of hubble-proxy."""

from __future__ import annotations

from argparse import Namespace

from hubble.cli.arguments import Parser
from hubble.options import admin, proxy

PROGRAM = "hubble-proxy"
COMMANDS = (*admin.COMMANDS, "hash-key")
"""The commands in hubble/cli/commands.py, which the supervisor does not import."""


def parser() -> Parser:
    """Return the parser of the proxy's options."""
    epilog = f"Commands, each with its own options ({PROGRAM} COMMAND -h): {', '.join(COMMANDS)}."
    return Parser(PROGRAM, "The public server of Hubble, to which agents dial out.", proxy.PROXY, epilog)


def lacks_policy(options: Namespace) -> bool:
    """Return whether no option sets a policy, so that every session is granted."""
    return not any(getattr(options, name.replace("-", "_")) for name in proxy.POLICIES)
