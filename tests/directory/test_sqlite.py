"""The SQLite file: locked, deleted, unwritable."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import gevent
import pytest

from hubble.directory import DirectoryError, Registration, Worker, sqlite
from hubble.directory.sqlite import SQLiteDirectory

ONE, TWO = Worker("one", "unix:1"), Worker("two", "unix:2")
MINE = Registration("gateway", "one", 1, "owner")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "directory.sqlite"


def test_waiting_for_a_lock_lets_other_greenlets_run(path: Path) -> None:
    directory = SQLiteDirectory(path)
    directory.join(ONE)
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    claiming = gevent.spawn(directory.claim, MINE)
    gevent.sleep(0.05)  # long enough for an attempt; nothing tells when one was made
    assert not claiming.ready()
    assert directory.find("gateway") is None
    blocker.execute("ROLLBACK")
    assert claiming.get(timeout=2) is None
    assert directory.find("gateway") == MINE


def test_a_lock_that_is_never_let_go_is_an_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT", 0.1)
    directory = SQLiteDirectory(path)
    directory.join(ONE)
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    started = time.monotonic()
    with pytest.raises(DirectoryError, match="locked"):
        directory.claim(MINE)
    assert time.monotonic() - started < 1
    with pytest.raises(DirectoryError):
        directory.renew(ONE)
    assert directory.trouble
    blocker.execute("ROLLBACK")
    assert directory.renew(ONE)
    assert not directory.trouble


def test_a_deleted_file_is_created_and_filled_again(path: Path) -> None:
    here, there = SQLiteDirectory(path), SQLiteDirectory(path)
    here.join(ONE)
    there.join(TWO)
    here.claim(MINE)
    for file in path.parent.glob("directory.sqlite*"):
        file.unlink()
    assert not there.renew(TWO)
    there.join(TWO)
    assert not here.renew(ONE)
    assert here.join(ONE, [MINE]) == []
    assert there.find("gateway") == MINE


def test_a_release_that_failed_is_made_good_by_joining_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT", 0.05)
    directory = SQLiteDirectory(path)
    directory.join(ONE)
    directory.claim(MINE)
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    with pytest.raises(DirectoryError):
        directory.release(MINE)
    blocker.execute("ROLLBACK")
    assert not directory.renew(ONE)
    assert directory.join(ONE) == []
    assert directory.find("gateway") is None
    assert directory.renew(ONE)


def test_a_full_disk_is_an_error_of_the_call_alone(path: Path) -> None:
    """As far as SQLite can tell: a file that may not grow is one on a full disk."""
    directory = SQLiteDirectory(path)
    directory.join(ONE)
    (pages,) = directory._database.execute("PRAGMA page_count").fetchone()
    directory._database.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(DirectoryError, match="full"):
        for number in range(1000):
            directory.claim(Registration(f"name {number}", "one"))
    directory._database.execute("PRAGMA max_page_count = 100000")
    assert directory.claim(MINE) is None


def test_a_file_that_is_not_a_database_is_reported_in_one_line(path: Path) -> None:
    path.write_text("this is no database, and longer than the header of one would be" * 10)
    with pytest.raises(DirectoryError, match=r"cannot open the directory .*directory\.sqlite: "):
        SQLiteDirectory(path)


def test_workers_of_another_version_do_not_share_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when one takes over from the other: a clear word is better than an entry that is misread."""
    older = SQLiteDirectory(path)
    older.join(ONE)
    monkeypatch.setattr(sqlite, "VERSION", sqlite.VERSION + 1)
    with pytest.raises(DirectoryError, match="another version of Hubble; stop the proxy that uses it first"):
        SQLiteDirectory(path)
    assert older.renew(ONE)
    older.close()
