"""The directory of one machine's workers that continues from memory while its file cannot be written.

The disk may be full or broken, or a worker that hangs may hold the file's lock. Names claimed meanwhile are kept in
memory and announced to the other workers (`learn`). They are written to the file as soon as that is possible. Until
then workers find each other by their sockets.
"""

from __future__ import annotations

import errno
import logging
import sqlite3
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import gevent

from hubble.base.runtimedir import DIRECTORY, worker_socket, worker_sockets
from hubble.directory import LEASE, Directory, DirectoryError, Registration, Worker
from hubble.directory.sqlite import SQLiteDirectory

log = logging.getLogger(__name__)

T = TypeVar("T")

DISK = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY)
DISK_ERRNO = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE)


class SteadyDirectory(Directory):
    """A SQLiteDirectory in `runtime_dir` whose calls do not fail because of the disk.

    Raises DirectoryError only if the file cannot be opened for another reason, such as tables of another version.
    """

    def __init__(self, runtime_dir: Path) -> None:
        super().__init__()
        self._runtime_dir = runtime_dir
        self._trouble = ""
        self._must_join = False
        self._me = Worker("", "")
        self._mine: dict[str, Registration] = {}
        self._announced: dict[str, Registration] = {}
        """The registrations that other workers announced; valid until they have had time to write them to the file."""
        self._announced_until = 0.0
        self._gone: set[str] = set()
        self._file: SQLiteDirectory | None = None
        try:
            self._open()
        except DirectoryError as error:
            if not is_of_the_disk(error):
                raise
            self._lose(error)

    @property
    def trouble(self) -> str:
        return self._trouble and "the directory is unavailable"  # /readyz shows this to any client: no details

    def join(self, worker: Worker, registrations: Iterable[Registration] = ()) -> list[Registration]:
        self._me = worker
        wanted = {registration.name: registration for registration in registrations}
        refused = self._written(lambda file: file.join(worker, wanted.values()))
        if refused is None:
            self._mine = wanted
            return []
        self._must_join = False
        taken = {holder.name for holder in refused}
        self._mine = {name: mine for name, mine in wanted.items() if name not in taken}
        return refused

    def renew(self, worker: Worker) -> bool:
        try:
            file = self._open()
            renewed = file.renew(worker)
        except DirectoryError as error:
            self._lose(error)
            return True  # the worker joins again once the file is available
        if self._trouble:
            log.warning("the directory is writable again")
            self._trouble = ""
            self._gone.clear()
            self._announced_until = time.monotonic() + LEASE
        elif time.monotonic() > self._announced_until:
            self._announced.clear()
        return renewed and not self._must_join

    def leave(self, worker_id: str) -> None:
        self._gone.add(worker_id)
        self._announced = {
            name: announced for name, announced in self._announced.items() if announced.worker != worker_id
        }
        if self._written(lambda file: file.leave(worker_id) or True):  # type: ignore[func-returns-value]
            self._gone.discard(worker_id)

    def worker(self, worker_id: str) -> Worker | None:
        found = self._read(lambda file: file.worker(worker_id))
        path = worker_socket(self._runtime_dir, worker_id)
        if found is None and (self._trouble or self._is_announced(worker_id)) and path.exists():
            found = Worker(worker_id, f"unix:{path}", self._me.node)
        return None if worker_id in self._gone else found

    def workers(self) -> list[Worker]:
        if not self._trouble and (found := self._read(lambda file: file.workers())) is not None:
            return found
        alive = sorted(worker_id for _, worker_id in worker_sockets(self._runtime_dir))
        return [worker for worker_id in alive if (worker := self.worker(worker_id)) is not None]

    def find(self, name: str) -> Registration | None:
        if not self._trouble:
            found = self._read(lambda file: file.find(name))
            if not self._trouble:
                return found or self._announced.get(name)
        known = self._mine.get(name) or self._announced.get(name)
        if known is not None:
            return known
        found = self._read(lambda file: file.find(name))
        stale = found is not None and (found.worker == self._me.id or found.worker in self._gone)
        return None if stale else found

    def was_held(self, name: str) -> bool:
        return bool(self._read(lambda file: file.was_held(name))) or self.find(name) is not None

    def claim(self, registration: Registration, replaces: Registration | None = None) -> Registration | None:
        holders = self._written(lambda file: [file.claim(registration, replaces)])
        if holders is None:
            found = self.find(registration.name)
            holders = [found if found != replaces else None]
            self._must_join = True
        if holders[0] is None:
            self._mine[registration.name] = registration
            self._announced.pop(registration.name, None)
        return holders[0]

    def release(self, registration: Registration) -> None:
        for known in (self._mine, self._announced):
            if known.get(registration.name) == registration:
                del known[registration.name]
        if not self._written(lambda file: file.release(registration) or True):  # type: ignore[func-returns-value]
            self._must_join = True

    def learn(self, registration: Registration) -> None:
        name = registration.name
        mine = self._mine.get(name)
        if mine is not None and not registration.supersedes(mine):
            return
        self._announced[name] = registration
        self._announced_until = max(self._announced_until, time.monotonic() + LEASE)
        if mine is not None:
            del self._mine[name]
            gevent.spawn(self.on_taken, registration)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    # The file.

    def _open(self) -> SQLiteDirectory:
        if self._file is None:
            self._file = SQLiteDirectory(self._runtime_dir / DIRECTORY)
        return self._file

    def _written(self, write: Callable[[SQLiteDirectory], T]) -> T | None:
        """Return the result of `write`, or None if the file cannot be written now or at the last attempt."""
        if self._trouble or self._file is None:
            return None
        try:
            return write(self._file)
        except DirectoryError as error:
            self._lose(error)
            return None

    def _read(self, read: Callable[[SQLiteDirectory], T]) -> T | None:
        """Return the result of `read`, or None if the file cannot be read. Reading works on a full disk."""
        if self._file is None:
            return None
        try:
            return read(self._file)
        except DirectoryError as error:
            self._lose(error)
            return None

    def _lose(self, error: DirectoryError) -> None:
        if str(error) != self._trouble:
            log.error("%s; continuing from memory", error)
        self._trouble = str(error)
        self._must_join = True
        if self._file is not None and not is_of_the_disk(error):
            with suppress(sqlite3.Error):
                self._file.close()
            self._file = None

    def _is_announced(self, worker_id: str) -> bool:
        return any(announced.worker == worker_id for announced in self._announced.values())


def is_of_the_disk(error: DirectoryError) -> bool:
    """Return whether a fault of the disk or a lack of descriptors caused the error."""
    cause = error.__cause__
    if isinstance(cause, OSError):
        return cause.errno in DISK_ERRNO
    code = getattr(cause, "sqlite_errorcode", None)
    return code is not None and (code & 0xFF) in DISK
