"""A file that is reloaded when it changes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from hubble.base.errors import UsageError
from hubble.base.files import Signature, signature

logger = logging.getLogger("hubble.policy")


class WatchedFile:
    """Passes a file's bytes to `load`, immediately and after each change.

    `load` raises UsageError for invalid contents, and then keeps the previous ones in force.
    """

    def __init__(self, path: Path, what: str, load: Callable[[bytes], None]) -> None:
        self._path = path
        self._what = what
        self._load = load
        self._signature: Signature | None = None
        self.reload()

    def reload(self) -> None:
        """Read and load the file. Raises UsageError."""
        try:
            # Before reading, so that the next check sees a change during the read.
            self._signature = signature(self._path)
            contents = self._path.read_bytes()
        except OSError as error:
            raise UsageError(f"cannot read {self._what} {self._path}: {error.strerror}") from error
        self._load(contents)

    def reload_if_changed(self) -> bool:
        """Reload the file if it changed. Return whether it was reloaded. Invalid contents are logged once."""
        try:
            if signature(self._path) == self._signature:
                return False
            self.reload()
        except (UsageError, OSError) as error:
            self._report(error)
            return False
        logger.info("reloaded %s %s", self._what, self._path)
        return True

    def _report(self, error: Exception) -> None:
        why = str(error)
        if isinstance(error, OSError):
            # The file is missing, perhaps because it is being replaced. It is read when it exists again.
            if self._signature is None:
                return
            self._signature = None
            why = f"cannot read {self._path}: {error.strerror}"
        logger.error("%s not reloaded: %s", self._what, why)
