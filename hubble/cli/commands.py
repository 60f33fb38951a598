"""The commands of `hubble-proxy`, by its first argument."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Sequence

from hubble.cli import admin_client, hash_key
from hubble.cli.proxy_arguments import parser

COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {"hash-key": hash_key.main, **admin_client.COMMANDS}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. Return the exit status."""
    name, *rest = sys.argv[1:] if arguments is None else arguments
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, 1)
        hint = f"; did you mean {near[0]}?" if near else f"; the commands are {', '.join(COMMANDS)}"
        parser().error(f"unknown command {name!r}{hint}")
    return COMMANDS[name](rest)
