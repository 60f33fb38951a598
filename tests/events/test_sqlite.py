from __future__ import annotations

import json
import resource
import signal
import sqlite3
from pathlib import Path

import pytest

from hubble.base.errors import UsageError
from hubble.events.sqlite import SQLiteLogger
from tests.support.samples import EVENTS, SESSION


def test_events_can_be_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "events.sqlite"
    logger, other = SQLiteLogger(path), SQLiteLogger(path)  # as two workers have it
    logger.log_all(EVENTS)
    other.log(EVENTS[0])
    logger.close()
    with sqlite3.connect(path) as database:
        rows = database.execute("SELECT event, fields FROM events WHERE session = ?", (SESSION["session"],)).fetchall()
        assert [kind for kind, _ in rows] == [e.name for e in EVENTS if hasattr(e, "session")]
        total, duration = database.execute(
            "SELECT count(*), sum(json_extract(fields, '$.duration')) FROM events"
        ).fetchone()
        assert (total, duration) == (len(EVENTS) + 1, 86.5 + 3600.5)
        assert json.loads(rows[0][1])["host"] == "10.0.0.5"
    other.close()


def test_a_database_that_fails_counts_and_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "events.sqlite"
    logger = SQLiteLogger(path)
    with sqlite3.connect(path) as database:
        database.execute("ALTER TABLE events RENAME TO away")
    for _ in range(3):
        logger.log(EVENTS[0])
    assert logger.dropped == 3
    with sqlite3.connect(path) as database:
        database.execute("ALTER TABLE away RENAME TO events")
    logger.log(EVENTS[0])
    assert logger.dropped == 3
    logger.close()
    began, over = [record.getMessage() for record in caplog.records]
    assert began == f"cannot write events to {path}: no such table: events"
    assert over == f"writing events to {path} works again; 3 events lost so far"
    assert capfd.readouterr().err == ""  # no traceback of a thread


def test_what_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("no database at all " * 100)
    with pytest.raises(UsageError, match="not a database"):
        SQLiteLogger(path)


def test_a_full_disk_is_survived_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A limit on the size of files is met as a full disk is."""
    path = tmp_path / "events.sqlite"
    logger = SQLiteLogger(path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, hard))
    try:
        for _ in range(100):
            logger.log_all(EVENTS)
        lost = logger.dropped
        assert lost
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    logger.log_all(EVENTS)
    assert logger.dropped == lost
    logger.close()
    assert len(caplog.records) == 2
    assert "again" in caplog.records[1].getMessage()
    with sqlite3.connect(path) as database:
        assert database.execute("SELECT count(*) FROM events").fetchone() == (101 * len(EVENTS) - lost,)
