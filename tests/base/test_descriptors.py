"""The limit of open files."""

from __future__ import annotations

import subprocess
import sys

SHOW = "import resource; print(resource.getrlimit(resource.RLIMIT_NOFILE))"
RAISE = "from hubble.base.descriptors import raise_descriptor_limit; raise_descriptor_limit();"


def test_the_soft_limit_is_raised_to_the_hard_one() -> None:
    limited = ["sh", "-c", 'ulimit -S -n 100; ulimit -H -n 200; exec "$@"', "sh", sys.executable, "-c", RAISE + SHOW]
    assert subprocess.check_output(limited, text=True) == "(200, 200)\n"
