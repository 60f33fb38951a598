"""The directory whose file cannot be written for a while."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gevent
import pytest

from hubble.base.runtimedir import worker_socket
from hubble.directory import DirectoryError, Registration, Worker, steady
from hubble.directory.sqlite import SQLiteDirectory
from hubble.directory.steady import SteadyDirectory, is_of_the_disk
from hubble.mesh.sockets import listen_on_path

ONE, TWO = "1" * 16, "2" * 16
MINE = Registration("gateway", ONE, 1, "owner")
AGAIN = Registration("gateway", TWO, 2, "owner")
RIVAL = Registration("gateway", TWO, 3, "another")


class Disk:
    """`full` has every write fail, and `broken` every read as well."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full = self.broken = False
        written, read = SQLiteDirectory._transaction, SQLiteDirectory._read

        @contextmanager
        def transaction(directory: SQLiteDirectory) -> Iterator[None]:
            if self.full or self.broken:
                raise self._error()
            with written(directory):
                yield

        def reading(directory: SQLiteDirectory, query: str, *values: object) -> list[tuple[object, ...]]:
            if self.broken:
                raise self._error()
            return read(directory, query, *values)

        monkeypatch.setattr(SQLiteDirectory, "_transaction", transaction)
        monkeypatch.setattr(SQLiteDirectory, "_read", reading)

    def _error(self) -> DirectoryError:
        cause = sqlite3.OperationalError("database or disk is full")
        cause.sqlite_errorcode = sqlite3.SQLITE_FULL
        error = DirectoryError(f"the directory: {cause}")
        error.__cause__ = cause
        return error


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


@pytest.fixture
def workers(tmp_path: Path, disk: Disk) -> Iterator[tuple[SteadyDirectory, SteadyDirectory]]:
    """Two workers that have joined, each with its socket."""
    listeners = [listen_on_path(worker_socket(tmp_path, each)) for each in (ONE, TWO)]
    directories = SteadyDirectory(tmp_path), SteadyDirectory(tmp_path)
    for directory, each in zip(directories, (ONE, TWO), strict=True):
        directory.join(worker(tmp_path, each))
    yield directories
    for directory in directories:
        directory.close()
    for listener in listeners:
        listener.close()


def worker(path: Path, worker_id: str) -> Worker:
    return Worker(worker_id, f"unix:{worker_socket(path, worker_id)}", "node")


@pytest.mark.parametrize("how", ["full", "broken"])
def test_names_are_claimed_found_and_released_in_memory(
    workers: tuple[SteadyDirectory, SteadyDirectory], disk: Disk, tmp_path: Path, how: str
) -> None:
    one, two = workers
    old = Registration("old", ONE, 1, "owner")
    one.claim(old)
    setattr(disk, how, True)
    assert one.claim(MINE) is None and one.trouble
    assert one.find("gateway") == MINE and one.find("old") == old
    assert one.claim(RIVAL) == MINE
    two.learn(MINE)
    assert two.find("gateway") == MINE
    assert two.worker(ONE) == worker(tmp_path, ONE)
    assert two.claim(AGAIN) == MINE and two.claim(AGAIN, MINE) is None
    one.release(old)
    assert one.find("old") is None
    assert one.renew(worker(tmp_path, ONE)), "unknown while the file is unavailable"
    assert [each.id for each in one.workers()] == [ONE, TWO]


def test_changes_are_written_once_the_file_is_writable(
    workers: tuple[SteadyDirectory, SteadyDirectory], disk: Disk, tmp_path: Path
) -> None:
    one, two = workers
    one.claim(Registration("old", ONE))
    disk.full = True
    one.claim(MINE)
    one.release(Registration("old", ONE))
    disk.full = False
    assert not one.renew(worker(tmp_path, ONE)) and not one.trouble
    assert one.join(worker(tmp_path, ONE), [MINE]) == []
    assert one.renew(worker(tmp_path, ONE))
    assert two.find("gateway") == MINE and two.find("old") is None


def test_a_name_announced_by_another_worker_is_lost(
    workers: tuple[SteadyDirectory, SteadyDirectory], disk: Disk
) -> None:
    one, _ = workers
    taken: list[Registration] = []
    one.on_taken = taken.append
    disk.full = True
    one.claim(MINE)
    one.learn(RIVAL)
    assert one.find("gateway") == MINE, "an announcement by another agent does not take it"
    one.learn(AGAIN)
    gevent.sleep(0)
    assert taken == [AGAIN] and one.find("gateway") == AGAIN


def test_a_worker_that_is_gone_is_forgotten(workers: tuple[SteadyDirectory, SteadyDirectory], disk: Disk) -> None:
    one, _ = workers
    one.claim(Registration("theirs", TWO))
    disk.full = True
    one.renew(Worker(ONE, ""))
    one.learn(AGAIN)
    one.leave(TWO)
    assert one.worker(TWO) is None and one.find("gateway") is None
    assert [each.id for each in one.workers()] == [ONE]


def test_a_worker_starts_on_a_full_disk(disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk.full = True
    directory = SteadyDirectory(tmp_path)
    assert directory.join(worker(tmp_path, ONE), [MINE]) == []
    assert directory.find("gateway") == MINE and directory.trouble
    disk.full = False
    assert not directory.renew(worker(tmp_path, ONE))


def test_a_file_of_another_version_is_an_error(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "directory.sqlite") as database:
        database.execute("PRAGMA user_version = 99")
    with pytest.raises(DirectoryError, match="another version"):
        SteadyDirectory(tmp_path)


def test_trouble_is_logged_once(
    workers: tuple[SteadyDirectory, SteadyDirectory], disk: Disk, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one, _ = workers
    disk.full = True
    for _ in range(5):
        one.renew(worker(tmp_path, ONE))
    disk.full = False
    one.renew(worker(tmp_path, ONE))
    assert [record.levelname for record in caplog.records if record.name == steady.__name__] == ["ERROR", "WARNING"]


@pytest.mark.parametrize(
    ("cause", "expected"),
    [(OSError(28, "full"), True), (OSError(2, "missing"), False), (ValueError(), False), (None, False)],
)
def test_what_is_the_disks_fault(cause: BaseException | None, expected: bool) -> None:
    error = DirectoryError("the directory")
    error.__cause__ = cause
    assert is_of_the_disk(error) is expected
