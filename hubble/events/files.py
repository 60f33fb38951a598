"""Events as lines of JSON, in a file or on standard output."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from select import PIPE_BUF

from gevent.lock import RLock
from gevent.threadpool import ThreadPool

from hubble.base.errors import UsageError
from hubble.events.model import Event
from hubble.events.outage import Outage
from hubble.events.text import lines


class LineLogger:
    """Writes to a file descriptor, from a thread of its own: disks and pipes can block.

    What cannot be written (a full disk) is counted in `dropped`; the next events are tried again. Several workers may
    append to one file, or write to one pipe: each line stays whole, on a pipe if it has PIPE_BUF bytes at most.
    """

    def __init__(self, descriptor: int, what: str) -> None:
        self._descriptor = descriptor
        self._outage = Outage(what)
        self._torn = False
        self._thread = ThreadPool(1)
        self._lock = RLock()

    @property
    def dropped(self) -> int:
        """Events that were not written."""
        return self._outage.lost

    def log(self, event: Event) -> None:
        """Write one event."""
        self.log_all([event])

    def log_all(self, events: Sequence[Event]) -> None:
        """Write events."""
        data = lines(events)
        with self._lock:
            written, error = self._thread.apply(self._write, (data,))
        if error is None:
            self._outage.over()
        else:
            self._outage.failed(error.strerror, len(data) - written)

    def close(self) -> None:
        """Nothing is held back that would have to be written now."""

    def _write(self, data: list[bytes]) -> tuple[int, OSError | None]:
        """In the thread: how many lines were written whole, and what went wrong then."""
        rest = b"".join([b"\n", *data] if self._torn else data)
        lead = len(rest) - sum(map(len, data))
        done = 0
        try:
            at_once = len(rest) if _is_file(self._descriptor) else PIPE_BUF
            while done < len(rest):
                done += os.write(self._descriptor, memoryview(rest)[done : _end_of_lines(rest, done, at_once)])
            self._torn = False
        except OSError as error:
            # What was written of a line stays: the next line begins on a new one.
            self._torn = (self._torn and not done) or (done > 0 and rest[done - 1] != ord("\n"))
            return _whole(data, done - lead), error
        return len(data), None


class StdoutLogger(LineLogger):
    """Standard output."""

    def __init__(self) -> None:
        super().__init__(1, "standard output")


class FileLogger(LineLogger):
    """A file, appended to; opened again by `reopen`, after it was rotated. Raises UsageError if it cannot be opened."""

    def __init__(self, path: Path) -> None:
        self._path = path
        super().__init__(self._open(), str(path))

    def reopen(self) -> None:
        """Go on in the file that has the name now. Raises UsageError, and goes on in the old one."""
        descriptor = self._open()
        with self._lock:
            old, self._descriptor = self._descriptor, descriptor
            self._torn = False
            os.close(old)

    def close(self) -> None:
        with self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1

    def _open(self) -> int:
        try:
            return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise UsageError(f"the event file {self._path} cannot be written: {error.strerror}") from error


def _is_file(descriptor: int) -> bool:
    """Whether what is appended with one write stays together, however long it is."""
    return stat.S_ISREG(os.fstat(descriptor).st_mode)


def _end_of_lines(data: bytes, start: int, size: int) -> int:
    """Where the last of the lines ends that are within `size` bytes from `start`; that of the first, if it is longer.

    A pipe takes PIPE_BUF bytes as a whole; of more, another process may come between.
    """
    if len(data) - start <= size:
        return len(data)
    return data.rfind(b"\n", start, start + size) + 1 or data.index(b"\n", start) + 1


def _whole(data: list[bytes], size: int) -> int:
    """How many of the lines are within the first `size` bytes."""
    for number, text in enumerate(data):
        size -= len(text)
        if size < 0:
            return number
    return len(data)
