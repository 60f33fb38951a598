"""Running programs to their end: those under test, and those that use the tunnel."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.support.processes import ROOT


def run(command: Sequence[str | Path], *, within: float = 60.0, stdin: bytes | None = None) -> bytes:
    """The standard output of `command`, which must end 0 within so many seconds."""
    result = subprocess.run(command, input=stdin, capture_output=True, timeout=within)
    complaint = result.stderr.decode(errors="replace")
    assert result.returncode == 0, f"{command[0]} ended with status {result.returncode}:\n{complaint}"
    return result.stdout


def hubble(program: str, *arguments: str, within: float = 20.0) -> subprocess.CompletedProcess[str]:
    """Runs bin/`program` until it ends of itself."""
    command = [sys.executable, str(ROOT / "bin" / program), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=within, stdin=subprocess.DEVNULL)
