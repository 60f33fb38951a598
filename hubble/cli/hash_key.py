"""hubble-proxy hash-key: what the rules file holds of a key."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Sequence

from hubble.base.errors import UsageError
from hubble.cli.arguments import Parser
from hubble.cli.running import run
from hubble.options.proxy import HASH_KEY
from hubble.policy.keys import generate_key, hash_key

PROGRAM = "hubble-proxy hash-key"


def main(arguments: Sequence[str]) -> int:
    """Print the hash of the key that is asked for, read from standard input, or generated; the exit status."""
    what = "Read a key, and print its hash for the file of --auth-rules."
    options = Parser(PROGRAM, what, HASH_KEY).parse_args(arguments)
    return run(PROGRAM, _generate if options.generate else _print_hash)


def _generate() -> None:
    key, hashed = generate_key()
    print(f"key:  {key}\nhash: {hashed}")


def _print_hash() -> None:
    if sys.stdin is None:
        raise UsageError("standard input is closed: give the key on it, or --generate one")
    key = getpass.getpass("key: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n")
    if not key:
        raise UsageError("the key is empty: type it, or give it on standard input")
    try:
        print(hash_key(key))
    except ValueError as error:
        raise UsageError(str(error)) from error
