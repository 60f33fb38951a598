from __future__ import annotations

import os
from pathlib import Path

import pytest

from hubble.base.files import signature, write_atomically


def test_a_file_is_replaced_as_a_whole_and_its_signature_changes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"one")
    before, reader = signature(path), path.open("rb")
    write_atomically(path, b"two")
    with reader:
        assert (reader.read(), path.read_bytes()) == (b"one", b"two")
    assert signature(path) != before
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["file"]


def test_what_cannot_be_written_leaves_the_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "directory"
    (target / "content").mkdir(parents=True)
    with pytest.raises(OSError):
        write_atomically(target, b"a directory cannot be replaced by a file")
    assert os.listdir(tmp_path) == ["directory"]


def test_the_mode_is_as_wanted_within_the_mask(tmp_path: Path) -> None:
    mask = os.umask(0o022)
    try:
        write_atomically(tmp_path / "file", b"", 0o666)
    finally:
        os.umask(mask)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644
