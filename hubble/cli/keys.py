"""The key that an agent registers with: on the command line, in a file, or in the environment."""

from __future__ import annotations

import os
from argparse import Namespace
from pathlib import Path

from hubble.base.errors import UsageError


def read_key(options: Namespace) -> str:
    """The key that the options or the environment give, "" if none. Raises UsageError."""
    if options.key is not None and options.key_file is not None:
        raise UsageError("-key and -key-file exclude each other: give one of them")
    if options.key_file is not None:
        return read_key_file(options.key_file)
    return str(options.key if options.key is not None else os.environ.get("HUBBLE_KEY", ""))


def read_key_file(path: str) -> str:
    """The key in a file, without the end of its line. Raises UsageError."""
    try:
        return Path(path).read_text().strip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the key file {path} cannot be read: {error}") from error
