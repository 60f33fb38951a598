"""The gateways that an operator has blocked. The proxy refuses their registrations."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

from hubble.base.files import Signature, signature, write_atomically

log = logging.getLogger(__name__)


class Blocks:
    """The names of blocked gateways. With a `path` they are kept in a file, which all workers of a machine share."""

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
        """Block or unblock a gateway. A failed write of the file is logged; the change still applies."""
        self._read_if_changed()
        self._names = self._names | {name} if blocked else self._names - {name}
        if self._path is not None:
            self._write(self._path)

    def keep(self) -> None:
        """Write the file again if it was removed or an earlier write failed."""
        if self._path is not None and (self._unwritten or (self._names and not self._path.exists())):
            self._write(self._path)

    def _write(self, path: Path) -> None:
        self._unwritten = True
        try:
            write_atomically(path, json.dumps(sorted(self._names)).encode())
            self._signature = signature(path)
            self._unwritten = False
        except OSError as error:
            log.error("cannot write the blocked gateways to %s: %s", path, error.strerror)

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
            log.error("cannot read the blocked gateways from %s: %s", self._path, error)
