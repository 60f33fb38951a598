"""Batches of events on disk that wait for their receiver."""

from __future__ import annotations

import fcntl
import os
import secrets
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hubble.base.errors import UsageError
from hubble.base.files import write_atomically
from hubble.events.outage import Outage

MAX_BYTES = 256 * 1024 * 1024
UNSEEN = 64
"""The fraction of the maximum that a process adds before it measures again what others added or delivered."""


class Spool:
    """Batches in a private directory (0700), one file each, oldest first. Several processes may share it.

    Raises UsageError if the directory is unusable.
    """

    def __init__(self, directory: Path, max_bytes: int = MAX_BYTES) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        self._outage = Outage(f"the spool {directory}")
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=directory):  # the file system may be read-only
                pass
            self._measure()
        except OSError as error:
            raise UsageError(f"cannot use the spool directory {directory}: {error.strerror}") from error

    def __len__(self) -> int:
        return len(self._files())

    def add(self, batch: bytes) -> bool:
        """Store a batch. Return False if there is no room."""
        if self._added > self._max_bytes // UNSEEN or self._size + len(batch) > self._max_bytes:
            self._measure()
        if self._size + len(batch) > self._max_bytes:
            return False
        name = f"{time.time_ns():020d}-{secrets.token_hex(4)}"
        try:
            write_atomically(self._directory / f"{name}.json", batch)
        except OSError as error:
            self._outage.failed(error.strerror, 0)
            return False
        self._outage.over()
        self._size += len(batch)
        self._added += len(batch)
        return True

    @contextmanager
    def oldest(self) -> Iterator[tuple[str, bytes] | None]:
        """Lock and yield the oldest batch that no other process has locked: its name and bytes. None if there is none.

        `done` removes it.
        """
        for path in self._files():
            try:
                file = path.open("rb")
            except FileNotFoundError:  # another process has just delivered it
                continue
            with file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                if os.fstat(file.fileno()).st_nlink:  # otherwise it was delivered before we had the lock
                    yield path.stem, file.read()
                    return
        yield None

    def done(self, name: str) -> None:
        """Remove a batch that was delivered or is given up."""
        (self._directory / f"{name}.json").unlink(missing_ok=True)

    def _measure(self) -> None:
        self._size = self._added = 0
        for path in self._files():
            with suppress(FileNotFoundError):  # another process has just delivered it
                self._size += path.stat().st_size

    def _files(self) -> list[Path]:
        return sorted(self._directory.glob("*.json"))
