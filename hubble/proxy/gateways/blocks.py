"""The gateways that an operator has blocked: their registrations are refused."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

log = logging.getLogger(__name__)


class Blocks:
    """Names of gateways. With a `path`, a file that all workers of a machine share, and that outlives them."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._names: set[str] = set()
        self._signature: tuple[int, ...] = ()

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

    def _write(self, path: Path) -> None:
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            temporary.write_text(json.dumps(sorted(self._names)))
            temporary.replace(path)
            self._signature = _signature(path)
        except OSError as error:
            log.error("the blocked gateways cannot be written to %s: %s", path, error.strerror)

    def _read_if_changed(self) -> None:
        if self._path is None:
            return
        try:
            signature = _signature(self._path)
            if signature != self._signature:
                self._names = set(json.loads(self._path.read_text()))
                self._signature = signature
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError) as error:
            log.error("the blocked gateways cannot be read from %s: %s", self._path, error)


def _signature(path: Path) -> tuple[int, ...]:
    status = path.stat()
    return status.st_mtime_ns, status.st_size, status.st_ino
