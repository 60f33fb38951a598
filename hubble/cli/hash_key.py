"""hubble-proxy hash-key: what the rules file holds of a key."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Sequence

from hubble.base.errors import UsageError
from hubble.cli.arguments import Parser
from hubble.cli.running import run
from hubble.policy.keys import hash_key

PROGRAM = "hubble-proxy hash-key"


def main(arguments: Sequence[str]) -> int:
    """Print the hash of the key that is asked for, or read from standard input; the exit status."""
    Parser(PROGRAM, "Reads a key, and prints its hash for the rules file of --auth-rules.").parse_args(arguments)
    return run(PROGRAM, _print_hash)


def _print_hash() -> None:
    key = getpass.getpass("key: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n")
    if not key:
        raise UsageError("the key is empty: type it, or give it on standard input")
    print(hash_key(key))
