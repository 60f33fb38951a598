"""The directory of one machine's workers: a shared SQLite file. It needs no setup, and outlives a crashed worker."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import gevent

from hubble.directory import LEASE, MOMENT, Directory, DirectoryError, Registration, Worker

log = logging.getLogger(__name__)

BUSY_TIMEOUT = 3.0
"""Seconds that a call waits for another worker's write, which normally takes less than a millisecond."""
BUSY_PAUSE = 0.005

VERSION = 1
"""The version of the tables."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS workers (id TEXT PRIMARY KEY, address TEXT, node TEXT, remote TEXT, seen REAL);
CREATE TABLE IF NOT EXISTS registrations (name TEXT PRIMARY KEY, worker TEXT, epoch INTEGER, owner TEXT);
CREATE TABLE IF NOT EXISTS released (name TEXT PRIMARY KEY, at REAL);
CREATE INDEX IF NOT EXISTS registrations_of_worker ON registrations (worker);
"""
_LOCKED = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_WORKER = "id, address, node, remote"
_REGISTRATION = "name, worker, epoch, owner"


class SQLiteDirectory(Directory):
    """A directory in the file `path`. `clock` times the leases. The file holds no data that must outlive the proxy.

    If the file is deleted, the next `renew` of a worker creates it again. Raises DirectoryError if the file cannot be
    opened.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time, lease: float = LEASE) -> None:
        super().__init__()
        self._path = path
        self._clock = clock
        self._lease = lease
        self._trouble = ""
        self._claimed: dict[str, Registration] = {}
        """The registrations claimed through this object; `renew` compares their number with the file."""
        self._open()

    @property
    def trouble(self) -> str:
        return self._trouble

    def join(self, worker: Worker, registrations: Iterable[Registration] = ()) -> list[Registration]:
        refused = []
        with self._transaction():
            self._remove(worker.id)
            self._claimed = {name: held for name, held in self._claimed.items() if held.worker != worker.id}
            self._database.execute(
                "INSERT INTO workers VALUES (?, ?, ?, ?, ?)",
                (worker.id, worker.address, worker.node, worker.remote, self._clock()),
            )
            for registration in registrations:
                holder = self._find(registration.name)
                if holder is None or registration.supersedes(holder):
                    self._put(registration)
                else:
                    refused.append(holder)
        return refused

    def renew(self, worker: Worker) -> bool:
        try:
            self._reopen_if_deleted()
            renewed = self._renew(worker)
        except DirectoryError:
            self._trouble = "the directory is unavailable"  # /readyz shows this to any client: no details
            raise
        self._trouble = ""
        return renewed

    def _renew(self, worker: Worker) -> bool:
        now = self._clock()
        with self._transaction():
            self._database.execute("DELETE FROM released WHERE at < ?", (now - MOMENT,))
            for (dead,) in self._database.execute(
                "SELECT id FROM workers WHERE seen < ? AND id != ?", (now - self._lease, worker.id)
            ).fetchall():
                self._remove(dead)
            updated = self._database.execute("UPDATE workers SET seen = ? WHERE id = ?", (now, worker.id))
            (held,) = self._database.execute(
                "SELECT count(*) FROM registrations WHERE worker = ?", (worker.id,)
            ).fetchone()
        return updated.rowcount == 1 and held == sum(one.worker == worker.id for one in self._claimed.values())

    def leave(self, worker_id: str) -> None:
        with self._transaction():
            self._remove(worker_id)

    def worker(self, worker_id: str) -> Worker | None:
        rows = self._read(f"SELECT {_WORKER} FROM workers WHERE id = ?", worker_id)
        return Worker(*rows[0]) if rows else None

    def workers(self) -> list[Worker]:
        oldest = self._clock() - self._lease
        return [
            Worker(*row) for row in self._read(f"SELECT {_WORKER} FROM workers WHERE seen >= ? ORDER BY id", oldest)
        ]

    def find(self, name: str) -> Registration | None:
        rows = self._read(f"SELECT {_REGISTRATION} FROM registrations WHERE name = ?", name)
        return Registration(*rows[0]) if rows else None

    def was_held(self, name: str) -> bool:
        since = self._clock() - MOMENT
        return bool(
            self._read("SELECT 1 FROM released WHERE name = ? AND at > ?", name, since) or self.find(name) is not None
        )

    def claim(self, registration: Registration, replaces: Registration | None = None) -> Registration | None:
        with self._transaction():
            holder = self._find(registration.name)
            if holder is not None and holder != replaces:
                return holder
            self._put(registration)
        return None

    def release(self, registration: Registration) -> None:
        if self._claimed.get(registration.name) == registration:
            del self._claimed[registration.name]
        with self._transaction():
            deleted = self._database.execute(
                "DELETE FROM registrations WHERE name = ? AND worker = ? AND epoch = ? AND owner = ?",
                (registration.name, registration.worker, registration.epoch, registration.owner),
            )
            if deleted.rowcount:
                self._database.execute(
                    "INSERT OR REPLACE INTO released VALUES (?, ?)", (registration.name, self._clock())
                )

    def close(self) -> None:
        self._database.close()

    # Statements within a transaction.

    def _find(self, name: str) -> Registration | None:
        row = self._database.execute(f"SELECT {_REGISTRATION} FROM registrations WHERE name = ?", (name,)).fetchone()
        return Registration(*row) if row else None

    def _put(self, registration: Registration) -> None:
        self._database.execute(
            f"INSERT OR REPLACE INTO registrations ({_REGISTRATION}) VALUES (?, ?, ?, ?)",
            (registration.name, registration.worker, registration.epoch, registration.owner),
        )
        self._claimed[registration.name] = registration

    def _remove(self, worker_id: str) -> None:
        self._database.execute(
            "INSERT OR REPLACE INTO released SELECT name, ? FROM registrations WHERE worker = ?",
            (self._clock(), worker_id),
        )
        self._database.execute("DELETE FROM registrations WHERE worker = ?", (worker_id,))
        self._database.execute("DELETE FROM workers WHERE id = ?", (worker_id,))

    # The file.

    def _open(self) -> None:
        try:
            # SQLite's own wait for a lock would block the hub.
            self._database = sqlite3.connect(self._path, timeout=0, isolation_level=None)
            self._patiently("PRAGMA journal_mode = WAL")
            self._patiently("PRAGMA synchronous = OFF")  # after a crash of the machine the file is useless anyway
            self._check_version()
            for statement in _SCHEMA.strip().splitlines():
                self._patiently(statement)
            self._inode = self._path.stat().st_ino
        except (sqlite3.Error, OSError) as error:
            raise DirectoryError(f"cannot open the directory {self._path}: {error}") from error

    def _check_version(self) -> None:
        """Check the tables' version: during a takeover, two versions of Hubble may use the file."""
        (version,) = self._patiently("PRAGMA user_version").fetchone()
        if version not in (0, VERSION):
            raise DirectoryError(
                f"the directory {self._path} belongs to another version of Hubble; stop the proxy that uses it first"
            )
        if version == 0:
            self._patiently(f"PRAGMA user_version = {VERSION}")

    def _reopen_if_deleted(self) -> None:
        with suppress(FileNotFoundError):
            if self._path.stat().st_ino == self._inode:
                return
        log.error("the directory %s was deleted; creating it again", self._path)
        self._database.close()
        self._open()

    def _read(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        try:
            return self._patiently(query, *values).fetchall()
        except sqlite3.Error as error:
            raise DirectoryError(f"the directory {self._path}: {error}") from error

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Run a block in a transaction. BEGIN IMMEDIATE keeps other workers from writing between its reads and writes.

        Only BEGIN may wait and let other greenlets run; the block itself must not switch.
        """
        try:
            self._patiently("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            raise DirectoryError(f"the directory {self._path}: {error}") from error

    def _patiently(self, statement: str, *values: object) -> sqlite3.Cursor:
        """Execute a statement, retrying for BUSY_TIMEOUT while another worker holds the lock."""
        deadline = time.monotonic() + BUSY_TIMEOUT
        while True:
            try:
                return self._database.execute(statement, values)
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF not in _LOCKED or time.monotonic() > deadline:
                    raise
            gevent.sleep(BUSY_PAUSE)
