"""One machine of a proxy, as processes that come and go: a supervisor with its workers, and its successors."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Sequence
from contextlib import suppress

from tests.support.stage import Stage
from tests.support.waiting import poll

END = 40.0  # seconds that one may take to end in order


class Machine:
    """A proxy on one port, whichever process it is just now."""

    def __init__(self, stage: Stage, name: str, workers: int, *options: str) -> None:
        self.name = name
        self._stage = stage
        self.runtime = stage.directory / f"{name}.run"
        self._options = ["--workers", str(workers), "--runtime-dir", str(self.runtime), *options]
        self.count = workers
        self._generation = 0
        self.proxy = stage.proxy(*self._options, name=f"{name}-0")

    @property
    def url(self) -> str:
        return self.proxy.url

    @property
    def port(self) -> int:
        return self.proxy.port

    def workers(self) -> list[int]:
        """The processes of those that run."""
        return self.proxy.children()

    def wait_whole(self, within: float = 20.0) -> None:
        """Returns when as many workers run as should."""
        poll(lambda: len(self.workers()) == self.count, within, f"{self.name} has all its workers")

    def strike(self, signum: int, chance: random.Random) -> int | None:
        """Sends a signal to one of the workers: its process, or None if it was gone already."""
        workers = self.workers()
        if not workers:
            return None
        worker = chance.choice(workers)
        with suppress(ProcessLookupError):
            os.kill(worker, signum)
            return worker
        return None

    def take_over(self, *options: str) -> None:
        """A successor takes over; returns when the one before it has ended, in order."""
        old = self.proxy
        self._generation += 1
        arguments: Sequence[str] = ["-listen", f"127.0.0.1:{self.port}", *self._options, *options, "--takeover"]
        self.proxy = self._stage.proxy(*arguments, name=f"{self.name}-{self._generation}")
        assert old.wait(END) == 0

    def kill(self) -> None:
        self.proxy.kill()

    def start(self) -> None:
        self.proxy.start()

    def drain(self) -> None:
        """It ends in order, with what `--drain` allows."""
        assert self.proxy.stop(signal.SIGTERM, END) == 0
