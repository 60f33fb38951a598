"""The limit of open files."""

from __future__ import annotations

import subprocess
import sys

SHOW = "import resource; print(resource.getrlimit(resource.RLIMIT_NOFILE))"
RAISE = "from hubble.base.descriptors import raise_descriptor_limit; raise_descriptor_limit();"


def test_the_soft_limit_is_raised_to_the_hard_one() -> None:
    limited = ["sh", "-c", 'ulimit -S -n 100; ulimit -H -n 200; exec "$@"', "sh", sys.executable, "-c", RAISE + SHOW]
    assert subprocess.check_output(limited, text=True) == "(200, 200)\n"


EXHAUST = """
from gevent import monkey
monkey.patch_all()
import gevent, os, resource
gevent.sleep(0.01)
from hubble.base.reserve import DescriptorReserve
reserve = DescriptorReserve(3)
reserve.fill()
said = [reserve.release()]
resource.setrlimit(resource.RLIMIT_NOFILE, (50, 50))
taken = []
def take():
    try:
        while True:
            taken.append(os.dup(0))
    except OSError:
        return len(taken)
all_taken = take()
said += [reserve.release(), reserve.release(), take() - all_taken]
print(said)
"""


def test_a_reserve_is_given_up_only_when_little_else_is_free() -> None:
    said = subprocess.check_output([sys.executable, "-c", EXHAUST], text=True)
    assert said == "[False, True, False, 3]\n"
