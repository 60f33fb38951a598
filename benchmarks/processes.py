"""Processes that a benchmark starts: each in a process session of its own, measured, certain to be ended."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TypeVar

Found = TypeVar("Found")


class BenchmarkError(Exception):
    """A benchmark could not be carried out; the text says why, with the end of a log if there is one."""


class Process:
    """A program and all that it forks. Its output goes to the file `log`, except standard output if `piped`.

    As a context manager it is killed at the end of the block, with its children.
    """

    def __init__(self, arguments: Sequence[str], log: Path, *, piped: bool = False) -> None:
        self.log = log
        with log.open("ab") as output:
            self.popen = subprocess.Popen(
                arguments,
                stdin=subprocess.PIPE if piped else subprocess.DEVNULL,
                stdout=subprocess.PIPE if piped else output,
                stderr=output,
                text=True,
                start_new_session=True,  # Ctrl-C reaches the benchmark alone, which then ends all in order
            )

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def kill(self) -> None:
        """End the program and its children with SIGKILL; ended already is fine."""
        with suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait()
        for pipe in (self.popen.stdin, self.popen.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()

    def read_line(self) -> str:
        """The next line of a piped process's output, which may take as long as the benchmark may."""
        assert self.popen.stdout is not None
        line = self.popen.stdout.readline()
        if not line:
            raise self.failure("ended early")
        return line.strip()

    def finish(self) -> None:
        """Tell a piped load to end (its standard input ends) and wait until it has."""
        assert self.popen.stdin is not None
        self.popen.stdin.close()
        self.popen.wait(10)

    def wait_until(self, look: Callable[[], Found | None], what: str, seconds: float = 20) -> Found:
        """What `look` returns once it is not None. BenchmarkError when the process ends or time runs out."""
        deadline = time.monotonic() + seconds
        while (found := look()) is None:
            if self.popen.poll() is not None:
                raise self.failure(f"ended with status {self.popen.returncode} before it was {what}")
            if time.monotonic() > deadline:
                raise self.failure(f"was not {what} within {seconds:g} s")
            time.sleep(0.02)
        return found

    def failure(self, what: str) -> BenchmarkError:
        """The error that says what happened to this process, with the end of its log."""
        tail = self.log.read_text(errors="replace").splitlines()[-8:]
        return BenchmarkError("\n    ".join([f"{self.log.stem} {what}", *tail]))

    def cpu_seconds(self) -> float:
        """Processor time in seconds that the program and its children have used, those that live now."""
        return sum(_cpu_nanoseconds(pid) for pid in self._members()) / 1e9

    def memory(self) -> int:
        """Memory of the program and its children in bytes, shared pages divided among their users (PSS)."""
        return sum(_pss(pid) for pid in self._members())

    def children(self) -> list[int]:
        """The processes that the program has started."""
        return [pid for pid in self._members() if pid != self.popen.pid]

    def _members(self) -> Iterator[int]:
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with suppress(FileNotFoundError, ProcessLookupError):
                    if int(_stat_fields(int(entry.name))[3]) == self.popen.pid:
                        yield int(entry.name)


@contextmanager
def one_core() -> Iterator[None]:
    """Pin this process, and what it starts in the block, to one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _stat_fields(pid: int) -> list[str]:
    """/proc/PID/stat from the third field on: the second is the program's name, which may hold anything."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _cpu_nanoseconds(pid: int) -> int:
    """All threads' time: /proc/PID/stat counts in hundredths of a second, too coarse for hundreds of processes."""
    total = 0
    for file in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with suppress(FileNotFoundError, ProcessLookupError):
            total += int(file.read_text().split()[0])
    return total


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)
