"""What the arena itself is tested with: a client that does no harm, and a standstill from outside."""

from __future__ import annotations

import os
import signal
import time

from tests.hostile.drivers.raw import RawLink, again_and_again


def idle(*, port: int, seconds: float) -> dict[str, int]:
    """Open a link, and do nothing for a while."""

    def attack(link: RawLink, until: float) -> None:
        time.sleep(max(0.0, until - time.monotonic()))

    return again_and_again(port, seconds, attack)


def standstill(*, port: int, seconds: float, pids: list[int]) -> dict[str, int]:
    """Stop processes for a while."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(seconds)
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    return {}
