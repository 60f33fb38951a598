from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from hubble.base.errors import DialError, ListenError, UsageError
from hubble.cli.running import run, write_ports


@pytest.mark.parametrize(
    "error, status",
    [
        (None, 0),
        (UsageError("what was wrong"), 2),
        (ListenError("what was wrong"), 1),
        (DialError("what was wrong"), 1),
    ],
)
def test_statuses(error: Exception | None, status: int, capfd: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        if error is not None:
            raise error

    assert run("program", work) == status
    assert capfd.readouterr() == ("", "" if error is None else "program: what was wrong\n")


def test_an_interrupt_is_no_error(capfd: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        raise KeyboardInterrupt

    assert run("program", work) == 130
    assert capfd.readouterr() == ("", "")


def test_what_nobody_expected_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        run("program", lambda: 1 / 0)  # type: ignore[arg-type]


class TestThePortsFile:
    def test_holds_json(self, tmp_path: Path) -> None:
        file = tmp_path / "ports.json"
        write_ports(str(file), {"listen": "127.0.0.1:1"})
        write_ports(str(file), {"listen": "127.0.0.1:2"})
        assert json.loads(file.read_text()) == {"listen": "127.0.0.1:2"}
        assert os.listdir(tmp_path) == ["ports.json"]

    def test_is_never_seen_half_written(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        file = tmp_path / "ports.json"
        file.write_text('{"old": true}\n')
        seen: list[str] = []
        replace = Path.replace

        def looking_replace(self: Path, target: Path) -> Path:
            assert self.read_text().endswith("}\n"), "it is whole"
            seen.append(file.read_text())
            return replace(self, target)

        monkeypatch.setattr(Path, "replace", looking_replace)
        write_ports(str(file), {"listen": "127.0.0.1:1"})
        assert seen == ['{"old": true}\n']
        assert json.loads(file.read_text()) == {"listen": "127.0.0.1:1"}

    def test_nobody_asked_for_is_not_written(self) -> None:
        write_ports(None, {"listen": "x"})

    def test_that_cannot_be_written_is_a_usage_error(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"ports file .* cannot be written: No such file or directory"):
            write_ports(str(tmp_path / "nowhere" / "ports.json"), {})
