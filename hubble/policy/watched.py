"""A file that is read again when it has changed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from hubble.base.errors import UsageError
from hubble.base.files import Signature, signature

logger = logging.getLogger("hubble.policy")


class WatchedFile:
    """Hands a file's bytes to `load`, at once and whenever they may have changed.

    load raises UsageError for contents that cannot be used, and then leaves in force what was.
    """

    def __init__(self, path: Path, what: str, load: Callable[[bytes], None]) -> None:
        self._path = path
        self._what = what
        self._load = load
        self._signature: Signature | None = None
        self.reload()

    def reload(self) -> None:
        """Raises UsageError."""
        try:
            # Before reading: a change while we read is then seen the next time.
            self._signature = signature(self._path)
            contents = self._path.read_bytes()
        except OSError as error:
            raise UsageError(f"cannot read {self._what} {self._path}: {error.strerror}") from error
        self._load(contents)

    def reload_if_changed(self) -> bool:
        """True if other contents are in force now. What cannot be used is logged once."""
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
        if isinstance(error, OSError):
            # The file is away, perhaps for the moment in which it is replaced. It is read when it is back.
            if self._signature is None:
                return
            self._signature = None
        logger.error("%s stays as it was: %s", self._what, error)
