"""Real programs that tests run: skipped where missing on a laptop, a failure where all are promised."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

DAEMON_DIRECTORIES = ["/usr/sbin", "/usr/local/sbin", "/sbin"]


def find(name: str) -> str | None:
    """The path of the program `name`, or None. Looks where daemons live, and Debian's PostgreSQL, as well."""
    newest_first = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    directories = [os.environ.get("PATH", ""), *DAEMON_DIRECTORIES, *map(str, newest_first)]
    return shutil.which(name, path=os.pathsep.join(directories))


def require(name: str) -> str:
    """The path of the program `name`. Without it the test is skipped, or fails if HUBBLE_REQUIRE_PROGRAMS is set."""
    path = find(name)
    if path is None:
        reason = f"needs the program {name!r}, which this machine lacks"
        if os.environ.get("HUBBLE_REQUIRE_PROGRAMS"):
            pytest.fail(reason)
        pytest.skip(reason)
    return path
