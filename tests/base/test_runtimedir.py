from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hubble.base import runtimedir as runtime
from hubble.base.errors import UsageError
from hubble.base.runtimedir import CONTROL, LOCK, LONGEST, VARIABLE, RuntimeDir, base, default_directory, running
from tests.support.proxies import files

LEFT = [
    "control.sock", "control.new", "0123456789abcdef.sock", "0123456789abcdef.new", "admin.json", ".admin.json.17",
    ".blocked.json.17", "directory.sqlite", "directory.sqlite-wal", "directory.sqlite-shm",
]  # fmt: skip
"""What a proxy that was killed may leave, besides its lock."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "some" / "run"


@pytest.fixture
def directory(path: Path) -> RuntimeDir:
    return RuntimeDir(path)


@pytest.fixture
def umask() -> Iterator[Callable[[int], object]]:
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


@pytest.mark.parametrize("mask", [0, 0o022, 0o077])
def test_it_is_made_for_this_user_alone(path: Path, umask: Callable[[int], object], mask: int) -> None:
    umask(mask)
    directory = RuntimeDir(path)
    assert path.stat().st_mode & 0o777 == 0o700
    assert directory.lock() and (path / LOCK).stat().st_mode & 0o777 == 0o600
    assert RuntimeDir(path).path == path


@pytest.mark.parametrize("mode", [0o750, 0o705, 0o777, 0o710])
def test_one_that_others_could_look_into_is_refused(path: Path, mode: int) -> None:
    path.mkdir(parents=True)
    path.chmod(mode)
    with pytest.raises(UsageError, match=r"/some/run must belong to this user only; set its mode to 700$"):
        RuntimeDir(path)


def test_one_that_others_could_replace_is_refused(path: Path) -> None:
    path.mkdir(parents=True, mode=0o700)
    path.parent.chmod(0o777)
    with pytest.raises(UsageError, match="another user could replace the runtime directory"):
        RuntimeDir(path)
    path.parent.chmod(0o1777)  # such as /tmp
    RuntimeDir(path)


def test_one_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"file/some/run cannot be created: Not a directory$"):
        RuntimeDir(tmp_path / "file" / "some" / "run")


@pytest.mark.parametrize("letter", ["x", "ü"])
def test_a_path_is_as_long_as_its_sockets_allow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, letter: str) -> None:
    monkeypatch.chdir(tmp_path)
    longest = letter * (LONGEST // len(letter.encode()))
    with pytest.raises(UsageError, match=f"is too long; use at most {LONGEST} bytes$"):
        RuntimeDir(Path(longest + "xx"))
    directory = RuntimeDir(Path(longest))
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(directory.path / "0123456789abcdef.sock"))


def test_one_proxy_has_it(directory: RuntimeDir, path: Path) -> None:
    other = RuntimeDir(path)
    assert directory.lock() and not other.lock()
    os.close(directory.lock_descriptor)
    assert other.lock()


def test_the_lock_is_given_to_no_program_by_mistake(directory: RuntimeDir) -> None:
    assert directory.lock() and not os.get_inheritable(directory.lock_descriptor)


def test_a_lock_that_cannot_be_taken_is_one_line(directory: RuntimeDir, path: Path) -> None:
    (path / LOCK).mkdir()
    with pytest.raises(UsageError, match=r"some/run cannot be locked: Is a directory$"):
        directory.lock()


def test_a_directory_that_is_removed_meanwhile_is_made_anew(
    directory: RuntimeDir, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a proxy that ends: who then held the lock of a file that is gone would not be alone."""
    ending, flock = RuntimeDir(path), fcntl.flock
    assert ending.lock()

    def end_first(descriptor: int, operation: int) -> None:
        monkeypatch.setattr(fcntl, "flock", flock)
        ending.leave()
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", end_first)
    assert directory.lock() and not directory.was_left
    assert files(path) == [LOCK] and not RuntimeDir(path).lock()


def test_what_a_killed_proxy_has_left_is_removed_and_nothing_else(directory: RuntimeDir, path: Path) -> None:
    assert directory.lock() and not directory.was_left
    kept = [LOCK, "blocked.json", "notes.txt", "other.sock", ".profile"]
    for name in (*LEFT, *kept):
        (path / name).touch()
    os.close(directory.lock_descriptor)
    after = RuntimeDir(path)
    assert after.lock() and after.was_left
    after.clean()
    assert files(path) == sorted(kept)


def test_nothing_is_left_in_the_end(directory: RuntimeDir, path: Path) -> None:
    assert directory.lock()
    for name in LEFT:
        (path / name).touch()
    (path / "slots").mkdir()
    (path / "slots" / "0").touch()
    directory.leave()
    assert not path.exists() and path.parent.exists()
    directory.leave()


def test_the_blocked_gateways_are_kept(directory: RuntimeDir, path: Path) -> None:
    assert directory.lock()
    (path / "blocked.json").write_text("[]")
    directory.leave()
    assert files(path) == ["blocked.json"]
    after = RuntimeDir(path)
    assert after.lock() and not after.was_left


def test_the_last_of_those_who_share_it_removes_it(directory: RuntimeDir, path: Path) -> None:
    successor = RuntimeDir(path)
    assert directory.lock()
    successor.share_lock(os.dup(directory.lock_descriptor))
    (path / CONTROL).touch()
    directory.leave()
    assert files(path) == [CONTROL, LOCK] and not RuntimeDir(path).lock()
    successor.leave()
    assert not path.exists()


def test_who_never_had_it_leaves_it_alone(directory: RuntimeDir, path: Path) -> None:
    assert directory.lock()
    other = RuntimeDir(path)
    assert not other.lock()
    other.leave()
    assert files(path) == [LOCK]


class TestTheDefault:
    @pytest.fixture(autouse=True)
    def environment(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.delenv(VARIABLE, raising=False)
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))

    @pytest.mark.parametrize(
        "host, port, name", [("", 8080, "8080"), ("127.0.0.1", 80, "127.0.0.1-80"), ("::1", 80, "..1-80")]
    )
    def test_is_named_after_the_address(self, tmp_path: Path, host: str, port: int, name: str) -> None:
        assert default_directory(host, port) == tmp_path / "hubble" / name

    def test_is_what_the_environment_says(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(VARIABLE, "/some/where")
        assert default_directory("", 8080) == Path("/some/where")

    @pytest.mark.parametrize("is_writable, where", [(True, "/run/hubble"), (False, f"/tmp/hubble-{os.getuid()}")])
    def test_is_in_run_or_in_tmp(self, monkeypatch: pytest.MonkeyPatch, is_writable: bool, where: str) -> None:
        monkeypatch.delenv("XDG_RUNTIME_DIR")
        monkeypatch.setattr(os, "access", lambda path, mode: is_writable)
        monkeypatch.setattr(runtime.tempfile, "gettempdir", lambda: "/tmp")  # type: ignore[attr-defined]
        assert str(base()) == where

    def test_those_in_which_a_proxy_runs_are_found(self) -> None:
        one, _ = RuntimeDir(default_directory("", 1)), RuntimeDir(default_directory("", 2))
        killed = RuntimeDir(default_directory("", 3))
        for each in (one, killed):
            assert each.lock()
            each.control.touch()
        os.close(killed.lock_descriptor)
        assert running() == [one.path]
        one.leave()
        assert running() == []
