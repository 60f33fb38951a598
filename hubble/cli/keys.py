"""The key that an agent registers with: from the command line, a file or the environment."""

from __future__ import annotations

import os
from argparse import Namespace
from pathlib import Path

from hubble.base.errors import UsageError


def read_key(options: Namespace) -> str:
    """Return the key from the options or the environment, or "" without one. Raises UsageError."""
    if options.key is not None and options.key_file is not None:
        raise UsageError("-key and -key-file exclude each other; give one of them")
    if options.key_file is not None:
        return read_key_file(options.key_file)
    return str(options.key if options.key is not None else os.environ.get("HUBBLE_KEY", ""))


def read_key_file(path: str) -> str:
    """Return the key in a file, without the line break. Raises UsageError."""
    try:
        return Path(path).read_text().strip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the key file {path} cannot be read: {error}") from error
