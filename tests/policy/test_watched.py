"""Files that are read again when they have changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hubble.base.errors import UsageError
from hubble.policy import Authorizer, ConnectionRequest, LuaPolicy, RulesPolicy
from hubble.policy.watched import WatchedFile


class Recorder:
    def __init__(self, path: Path) -> None:
        self.loaded: list[bytes] = []
        self.file = WatchedFile(path, "list", self.load)

    def load(self, contents: bytes) -> None:
        if b"bad" in contents:
            raise UsageError("the list is bad")
        self.loaded.append(contents)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "list"
    path.write_bytes(b"one")
    return path


def change(path: Path, contents: bytes) -> None:
    """Writes the file so that its time differs, however coarse the file system's clock is."""
    before = path.stat().st_mtime_ns if path.exists() else 0
    path.write_bytes(contents)
    os.utime(path, ns=(before + 10**9, before + 10**9))


def test_it_is_read_at_once(path: Path) -> None:
    assert Recorder(path).loaded == [b"one"]


def test_it_is_read_again_when_changed(path: Path) -> None:
    recorder = Recorder(path)
    assert recorder.file.reload_if_changed() is False
    change(path, b"two")
    assert recorder.file.reload_if_changed() is True
    assert recorder.file.reload_if_changed() is False
    assert recorder.loaded == [b"one", b"two"]


def test_a_replaced_file_of_the_same_age_is_seen(path: Path, tmp_path: Path) -> None:
    recorder = Recorder(path)
    status = path.stat()
    other = tmp_path / "other"
    other.write_bytes(b"two")
    os.utime(other, ns=(status.st_mtime_ns, status.st_mtime_ns))
    other.rename(path)
    assert recorder.file.reload_if_changed() is True


def test_what_does_not_load_is_told_once(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    recorder = Recorder(path)
    change(path, b"bad")
    assert recorder.file.reload_if_changed() is False
    assert recorder.file.reload_if_changed() is False
    assert caplog.text.count("list not reloaded: the list is bad") == 1
    with pytest.raises(UsageError):
        recorder.file.reload()
    change(path, b"three")
    assert recorder.file.reload_if_changed() is True


def test_a_file_that_is_away_for_a_while(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    recorder = Recorder(path)
    path.unlink()
    assert recorder.file.reload_if_changed() is False
    assert recorder.file.reload_if_changed() is False
    assert caplog.text.count("list not reloaded: cannot read") == 1
    path.write_bytes(b"two")
    assert recorder.file.reload_if_changed() is True
    assert recorder.loaded[-1] == b"two"


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read list .*absent: No such file or directory"):
        WatchedFile(tmp_path / "absent", "list", lambda _contents: None)


ALLOW = {"lua": b"function connect() return true end", "toml": b"[[rule]]\n"}
DENY = {"lua": b"function connect() return false end", "toml": b'[[rule]]\naction = "deny"\n'}
BROKEN = {"lua": b"function connect( return true end", "toml": b"[[rule]\n"}


@pytest.mark.parametrize("kind", ["lua", "toml"])
def test_a_policy_changes_only_for_what_loads(kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / f"policy.{kind}"
    path.write_bytes(ALLOW[kind])
    policy: Authorizer = LuaPolicy(path) if kind == "lua" else RulesPolicy(path)
    request = ConnectionRequest(host="h", port=22)
    assert policy.connect(request).allowed
    change(path, BROKEN[kind])
    assert policy.reload_if_changed() is False
    assert policy.connect(request).allowed
    assert str(path) in caplog.text
    with pytest.raises(UsageError, match=str(path)):
        policy.reload()
    change(path, DENY[kind])
    assert policy.reload_if_changed() is True
    assert not policy.connect(request).allowed
