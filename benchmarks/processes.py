"""Processes of a benchmark. Each has its own process session, is measured, and is always ended."""

from __future__ import annotations

import ctypes
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

GET_PERSONALITY, ADDR_NO_RANDOMIZE = 0xFFFFFFFF, 0x0040000
"""Of personality(2)."""


class BenchmarkError(Exception):
    """A benchmark failed to run. The text is the reason, with the end of a log if there is one."""


class Process:
    """A program and its child processes. Its output goes to the file `log`, except standard output if `piped`.

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
        """End the program and its children with SIGKILL, if they still run."""
        with suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait()
        for pipe in (self.popen.stdin, self.popen.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()

    def read_line(self) -> str:
        """Return the next line of a piped process's output. It waits as long as the benchmark may run."""
        assert self.popen.stdout is not None
        line = self.popen.stdout.readline()
        if not line:
            raise self.failure("ended early")
        return line.strip()

    def ask(self, line: str) -> str:
        """Write a line to a piped process. Return its answer."""
        assert self.popen.stdin is not None
        try:
            self.popen.stdin.write(line + "\n")
            self.popen.stdin.flush()
        except BrokenPipeError:
            raise self.failure("ended early") from None
        return self.read_line()

    def finish(self) -> None:
        """End a piped load by closing its standard input, and wait for it."""
        assert self.popen.stdin is not None
        self.popen.stdin.close()
        self.popen.wait(10)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Resume a paused process for the block."""
        os.killpg(self.popen.pid, signal.SIGCONT)
        try:
            yield
        finally:
            self.pause()

    def pause(self) -> None:
        """Pause the program."""
        os.killpg(self.popen.pid, signal.SIGSTOP)

    def wait_until(self, look: Callable[[], Found | None], what: str, seconds: float = 20) -> Found:
        """Return the first value of `look` that is not None. Raises BenchmarkError if the process or the time ends."""
        deadline = time.monotonic() + seconds
        while (found := look()) is None:
            if self.popen.poll() is not None:
                raise self.failure(f"ended with status {self.popen.returncode} before it was {what}")
            if time.monotonic() > deadline:
                raise self.failure(f"was not {what} within {seconds:g} s")
            time.sleep(0.02)
        return found

    def failure(self, what: str) -> BenchmarkError:
        """Return the error for a failure of this process, with the end of its log."""
        tail = self.log.read_text(errors="replace").splitlines()[-8:]
        return BenchmarkError("\n    ".join([f"{self.log.stem} {what}", *tail]))

    def cpu_seconds(self) -> float:
        """Return the processor time of the program and its living children, in seconds."""
        return sum(_cpu_nanoseconds(pid) for pid in self._members()) / 1e9

    def memory(self) -> int:
        """Return the memory (PSS) of the program and its children, in bytes."""
        return sum(_pss(pid) for pid in self._members())

    def children(self) -> list[int]:
        """Return the ids of the program's child processes."""
        return [pid for pid in self._members() if pid != self.popen.pid]

    def _members(self) -> Iterator[int]:
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with suppress(FileNotFoundError, ProcessLookupError):
                    if int(_stat_fields(int(entry.name))[3]) == self.popen.pid:
                        yield int(entry.name)


@contextmanager
def one_core() -> Iterator[None]:
    """Pin this process, and the processes started in the block, to one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def preferred() -> Iterator[None]:
    """Give the processes started in the block priority over all others on their core, if permitted.

    A process with normal scheduling may wait for some milliseconds behind any other, even with a lower priority.
    """
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    try:
        yield
    finally:
        os.sched_setscheduler(0, *before)


@contextmanager
def same_layout() -> Iterator[None]:
    """Start the processes of the block with the same memory layout and hash seed, if permitted.

    Otherwise one of two identical processes can be up to 10 % faster than the other for its whole life.
    """
    libc, hashing = ctypes.CDLL(None), os.environ.get("PYTHONHASHSEED")
    before = libc.personality(GET_PERSONALITY)
    if before >= 0:
        libc.personality(before | ADDR_NO_RANDOMIZE)
    os.environ["PYTHONHASHSEED"] = "0"
    try:
        yield
    finally:
        if before >= 0:
            libc.personality(before)
        os.environ.pop("PYTHONHASHSEED")
        if hashing is not None:
            os.environ["PYTHONHASHSEED"] = hashing


def _stat_fields(pid: int) -> list[str]:
    """Return /proc/PID/stat from the third field on: the second, the program's name, may contain any character."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _cpu_nanoseconds(pid: int) -> int:
    """Return the processor time of all threads: /proc/PID/stat, in units of 10 ms, is too coarse for many processes."""
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
