"""The gateways that an operator has blocked: their registrations are refused."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

from hubble.base.files import Signature, signature, write_atomically

log = logging.getLogger(__name__)


class Blocks:
    """Names of gateways. With a `path`, a file that all workers of a machine share, and that outlives them."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._names: set[str] = set()
        self._signature: Signature | None = None
        self._unwritten = False

    def __contains__(self, name: str) -> bool:
        self._read_if_changed()
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        self._read_if_changed()
        return iter(sorted(self._names))

    def set(self, name: str, blocked: bool) -> None:
        """Block a gateway, or let it register again. A file that cannot be written is logged; the block is in force."""
        self._read_if_changed()
        self._names = self._names | {name} if blocked else self._names - {name}
        if self._path is not None:
            self._write(self._path)

    def keep(self) -> None:
        """Write the file again if it was removed, or could not be written."""
        if self._path is not None and (self._unwritten or (self._names and not self._path.exists())):
            self._write(self._path)

    def _write(self, path: Path) -> None:
        self._unwritten = True
        try:
            write_atomically(path, json.dumps(sorted(self._names)).encode())
            self._signature = signature(path)
            self._unwritten = False
        except OSError as error:
            log.error("the blocked gateways cannot be written to %s: %s", path, error.strerror)

    def _read_if_changed(self) -> None:
        if self._path is None or self._unwritten:
            return
        try:
            current = signature(self._path)
            if current != self._signature:
                self._names = set(json.loads(self._path.read_text()))
                self._signature = current
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError) as error:
            log.error("the blocked gateways cannot be read from %s: %s", self._path, error)
