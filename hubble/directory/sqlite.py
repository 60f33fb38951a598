"""The directory of one machine's workers: an SQLite file that they share. It needs no set-up, and survives them."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from hubble.directory import LEASE, Directory, Registration, Worker

_SCHEMA = """
CREATE TABLE IF NOT EXISTS workers (id TEXT PRIMARY KEY, address TEXT, node TEXT, seen REAL);
CREATE TABLE IF NOT EXISTS registrations (name TEXT PRIMARY KEY, worker TEXT, epoch INTEGER, owner TEXT);
CREATE INDEX IF NOT EXISTS registrations_of_worker ON registrations (worker);
"""
_REGISTRATION = "name, worker, epoch, owner"


class SQLiteDirectory(Directory):
    """Leases are kept by the clock of the machine, `clock`. The file holds nothing that outlives the proxy."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time, lease: float = LEASE) -> None:
        self._clock = clock
        self._lease = lease
        self._database = sqlite3.connect(path, timeout=5.0, isolation_level=None)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = OFF")  # after a crash of the machine the file is of no use
        self._database.executescript(_SCHEMA)

    def join(self, worker: Worker) -> None:
        with _Transaction(self._database):
            self._remove(worker.id)
            self._database.execute(
                "INSERT INTO workers VALUES (?, ?, ?, ?)", (worker.id, worker.address, worker.node, self._clock())
            )

    def renew(self, worker: Worker) -> bool:
        now = self._clock()
        with _Transaction(self._database):
            for (dead,) in self._database.execute(
                "SELECT id FROM workers WHERE seen < ? AND id != ?", (now - self._lease, worker.id)
            ).fetchall():
                self._remove(dead)
            updated = self._database.execute("UPDATE workers SET seen = ? WHERE id = ?", (now, worker.id))
        return updated.rowcount == 1

    def leave(self, worker_id: str) -> None:
        with _Transaction(self._database):
            self._remove(worker_id)

    def worker(self, worker_id: str) -> Worker | None:
        row = self._database.execute("SELECT id, address, node FROM workers WHERE id = ?", (worker_id,)).fetchone()
        return Worker(*row) if row else None

    def workers(self) -> list[Worker]:
        rows = self._database.execute(
            "SELECT id, address, node FROM workers WHERE seen >= ? ORDER BY id", (self._clock() - self._lease,)
        )
        return [Worker(*row) for row in rows]

    def find(self, name: str) -> Registration | None:
        query = f"SELECT {_REGISTRATION} FROM registrations WHERE name = ?"
        row = self._database.execute(query, (name,)).fetchone()
        return Registration(*row) if row else None

    def claim(self, registration: Registration, replaces: Registration | None = None) -> Registration | None:
        with _Transaction(self._database):
            holder = self.find(registration.name)
            if holder is not None and holder != replaces:
                return holder
            self._database.execute(
                f"INSERT OR REPLACE INTO registrations ({_REGISTRATION}) VALUES (?, ?, ?, ?)",
                (registration.name, registration.worker, registration.epoch, registration.owner),
            )
        return None

    def release(self, registration: Registration) -> None:
        self._database.execute(
            "DELETE FROM registrations WHERE name = ? AND worker = ? AND epoch = ?",
            (registration.name, registration.worker, registration.epoch),
        )

    def close(self) -> None:
        self._database.close()

    def _remove(self, worker_id: str) -> None:
        self._database.execute("DELETE FROM registrations WHERE worker = ?", (worker_id,))
        self._database.execute("DELETE FROM workers WHERE id = ?", (worker_id,))


class _Transaction:
    """BEGIN IMMEDIATE, so that no other worker writes between our reading and our writing."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def __enter__(self) -> None:
        self._database.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self._database.execute("ROLLBACK" if kind else "COMMIT")
