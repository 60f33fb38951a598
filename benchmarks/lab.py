"""The environment of a benchmark: its settings, a scratch directory, and its processes."""

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
        """Return a lab with the same settings, for processes that must end before this lab does."""
        return Lab(self.scratch, self.rounds, self.seconds)

    def alternate(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield all of `items` once for each round."""
        for _ in range(self.rounds):
            yield from items

    def file(self, name: str, suffix: str) -> Path:
        """Return an unused path in the scratch directory."""
        return self.scratch / f"{name}-{next(self._numbers)}{suffix}"

    def start(self, name: str, arguments: Sequence[str], *, piped: bool = False) -> Process:
        """Start a program that ends with this lab at the latest."""
        return self.enter_context(Process(arguments, self.file(name, ".log"), piped=piped))

    def start_module(self, name: str, *arguments: str) -> Process:
        """Start `benchmarks.<name>` as a separate program with piped input and output."""
        return self.start(name, [sys.executable, "-m", f"benchmarks.{name}", *arguments], piped=True)

    def service(self, *options: str) -> int:
        """Start a service. Return its port."""
        return int(self.start_module("service", *options).read_line())

    def begin(self, load: str, address: Address, **settings: Any) -> Process:
        """Start a load. It prints "ready" or its result, each on a line."""
        host, port = address
        return self.start_module("load", load, host, str(port), json.dumps(settings))

    def measure(self, load: str, address: Address, **settings: Any) -> dict[str, float]:
        """Run a load to its end. Return its result."""
        with self.apart() as lab:
            return result(lab.begin(load, address, **settings))


def result(load: Process) -> dict[str, float]:
    """Wait for a started load. Return its result."""
    line = load.read_line()
    measured: dict[str, float] = json.loads(load.read_line() if line == READY else line)
    return measured
