"""Small numbers for the workers of a machine: 0 and up. A number is reused once its worker has ended.

A worker gets a new id each time it starts. A metric label made from ids would have ever more values; slots stay few.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from hubble.base.runtimedir import SLOTS

MOST = 1024


class Slot:
    """The lowest number that no other worker of the runtime directory holds. This process holds it until it ends."""

    def __init__(self, runtime_dir: Path | None) -> None:
        self.number = 0
        self._descriptor = -1
        if runtime_dir is not None:
            directory = runtime_dir / SLOTS
            directory.mkdir(mode=0o700, exist_ok=True)
            self._take(directory)

    def release(self) -> None:
        """Release the number for another worker."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _take(self, directory: Path) -> None:
        for self.number in range(MOST):
            descriptor = os.open(directory / str(self.number), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                continue
            self._descriptor = descriptor
            return
