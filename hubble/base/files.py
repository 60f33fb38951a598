"""What every part of Hubble does with small files: see that one has changed, and replace one as a whole."""

from __future__ import annotations

import os
from pathlib import Path

Signature = tuple[int, int, int]


def signature(path: Path) -> Signature:
    """Return what changes with the file: its time of modification, size and inode. Raises OSError."""
    status = path.stat()
    return status.st_mtime_ns, status.st_size, status.st_ino


def write_atomically(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Write a file that readers see either as it was or whole. Raises OSError, and leaves nothing behind then."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
        with open(descriptor, "wb") as file:
            file.write(content)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
