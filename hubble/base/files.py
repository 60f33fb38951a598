"""Small files: detect a change, and replace a file atomically."""

from __future__ import annotations

import os
from pathlib import Path

Signature = tuple[int, int, int]


def signature(path: Path) -> Signature:
    """Return the modification time, size and inode, which differ once the file has changed. Raises OSError."""
    status = path.stat()
    return status.st_mtime_ns, status.st_size, status.st_ino


def write_atomically(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Replace a file at once: readers see the old content or the new. Raises OSError, and then removes the new file."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
        with open(descriptor, "wb") as file:
            file.write(content)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
