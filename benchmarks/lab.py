"""What a benchmark works with: its settings, a scratch directory, and the processes it has started."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.load import READY, Address
from benchmarks.processes import Process

Item = TypeVar("Item")


class Lab(ExitStack):
    """A context whose end is the end of every process started through it.

    `rounds` is how often each measurement is made, `seconds` about how long one lasts.
    """

    _numbers = itertools.count(1)

    def __init__(self, scratch: Path, rounds: int, seconds: float) -> None:
        super().__init__()
        self.scratch, self.rounds, self.seconds = scratch, rounds, seconds

    def apart(self) -> Lab:
        """A lab of the same settings, for processes that are to end before this one's."""
        return Lab(self.scratch, self.rounds, self.seconds)

    def alternate(self, items: Iterable[Item]) -> Iterator[Item]:
        """All of `items`, then all of them again, for as many rounds as there are to be."""
        for _ in range(self.rounds):
            yield from items

    def file(self, name: str, suffix: str) -> Path:
        """A path in the scratch directory that nothing else uses."""
        return self.scratch / f"{name}-{next(self._numbers)}{suffix}"

    def start(self, name: str, arguments: Sequence[str], *, piped: bool = False) -> Process:
        """Start a program that ends with this lab at the latest."""
        return self.enter_context(Process(arguments, self.file(name, ".log"), piped=piped))

    def start_module(self, name: str, *arguments: str) -> Process:
        """Start `benchmarks.<name>` as a program of its own, its input and output being ours."""
        return self.start(name, [sys.executable, "-m", f"benchmarks.{name}", *arguments], piped=True)

    def service(self, *options: str) -> int:
        """Start a service; returns its port."""
        return int(self.start_module("service", *options).read_line())

    def begin(self, load: str, address: Address, **settings: Any) -> Process:
        """Start a load; it prints "ready" or its result, each on a line."""
        host, port = address
        return self.start_module("load", load, host, str(port), json.dumps(settings))

    def measure(self, load: str, address: Address, **settings: Any) -> dict[str, float]:
        """Run a load to its end; returns its result."""
        with self.apart() as lab:
            return result(lab.begin(load, address, **settings))


def result(load: Process) -> dict[str, float]:
    """The result of a load that has been started, when there is one."""
    line = load.read_line()
    measured: dict[str, float] = json.loads(load.read_line() if line == READY else line)
    return measured
