"""hubble-proxy hash-key: the hash of a key for the rules file."""

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
    """Print the hash of a key from the terminal or standard input, or of a new one. Return the exit status."""
    what = "Read a key and print its hash for the file of --auth-rules."
    options = Parser(PROGRAM, what, HASH_KEY).parse_args(arguments)
    return run(PROGRAM, _generate if options.generate else _print_hash)


def _generate() -> None:
    key, hashed = generate_key()
    print(f"key:  {key}\nhash: {hashed}")


def _print_hash() -> None:
    if sys.stdin is None:
        raise UsageError("standard input is closed; pass the key on standard input, or give --generate")
    key = getpass.getpass("key: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n")
    if not key:
        raise UsageError("the key is empty; type it, or pass it on standard input")
    try:
        print(hash_key(key))
    except ValueError as error:
        raise UsageError(str(error)) from error
