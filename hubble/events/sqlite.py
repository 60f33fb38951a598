"""Events in an SQLite database: one table, with indexes for frequent queries."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from gevent.threadpool import ThreadPool

from hubble.base.errors import UsageError
from hubble.base.slices import in_slices
from hubble.base.threads import in_thread
from hubble.events.model import Event, as_dict
from hubble.events.outage import Outage

BUSY_TIMEOUT = 5.0
"""Seconds to wait for the writes of other workers."""
SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
    id INTEGER PRIMARY KEY,
    time REAL NOT NULL,
    event TEXT NOT NULL,
    worker TEXT NOT NULL,
    session TEXT,
    source TEXT,
    gateway TEXT,
    fields TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS events_by_time ON events (time);
CREATE INDEX IF NOT EXISTS events_by_session ON events (session) WHERE session IS NOT NULL;
CREATE INDEX IF NOT EXISTS events_by_gateway ON events (gateway, time) WHERE gateway IS NOT NULL;
"""
INSERT = "INSERT INTO events (time, event, worker, session, source, gateway, fields) VALUES (?, ?, ?, ?, ?, ?, ?)"
COLUMNS = ("time", "event", "worker", "session", "source", "gateway")
"""The fields with their own column; `fields` holds the others as JSON."""


class SQLiteLogger:
    """Appends to the table `events` of the database at `path`, which several workers may share.

    Its own thread writes the events in transactions. `dropped` counts events that could not be written. Raises
    UsageError for a file that is not a database or cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._thread = ThreadPool(1)
        self._outage = Outage(str(path))
        try:
            self._database: sqlite3.Connection = in_thread(self._thread, _opened, path)
        except sqlite3.Error as error:
            raise UsageError(f"cannot use the event database {path}: {error}") from error

    @property
    def dropped(self) -> int:
        """The number of events that were not written."""
        return self._outage.lost

    def log(self, event: Event) -> None:
        """Write one event."""
        self.log_all([event])

    def log_all(self, events: Sequence[Event]) -> None:
        """Write either all events or none."""
        try:
            in_thread(self._thread, self._insert, [_row(event) for event in in_slices(events)])
        except sqlite3.Error as error:
            self._outage.failed(error, len(events))
        else:
            self._outage.over()

    def close(self) -> None:
        """Close the database."""
        in_thread(self._thread, self._database.close)

    def _insert(self, rows: list[tuple[object, ...]]) -> None:
        with self._database:
            self._database.executemany(INSERT, rows)


def _opened(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=BUSY_TIMEOUT, check_same_thread=False)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        database.executescript(SCHEMA)
    except sqlite3.Error:
        database.close()
        raise
    return database


def _row(event: Event) -> tuple[object, ...]:
    fields = as_dict(event)
    columns = [fields.pop(name, None) for name in COLUMNS]
    return (*columns, json.dumps(fields))
