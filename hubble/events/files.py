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
    """Writes to a file descriptor from its own thread, because disks and pipes can block.

    `dropped` counts events that could not be written, for example to a full disk; later events are tried again. Several
    workers may append to one file or write to one pipe. Lines stay whole; on a pipe only up to PIPE_BUF bytes.
    """

    def __init__(self, descriptor: int, what: str) -> None:
        self._descriptor = descriptor
        self._outage = Outage(what)
        self._torn = False
        self._thread = ThreadPool(1)
        self._lock = RLock()

    @property
    def dropped(self) -> int:
        """The number of events that were not written."""
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
        """Do nothing: no lines are buffered."""

    def _write(self, data: list[bytes]) -> tuple[int, OSError | None]:
        """Return the number of whole lines written, and the error that stopped it. Runs in the thread."""
        rest = b"".join([b"\n", *data] if self._torn else data)
        lead = len(rest) - sum(map(len, data))
        done = 0
        try:
            at_once = len(rest) if _is_file(self._descriptor) else PIPE_BUF
            while done < len(rest):
                done += os.write(self._descriptor, memoryview(rest)[done : _end_of_lines(rest, done, at_once)])
            self._torn = False
        except OSError as error:
            # A part of a line may be in the file: start the next one with a line break.
            self._torn = (self._torn and not done) or (done > 0 and rest[done - 1] != ord("\n"))
            return _whole(data, done - lead), error
        return len(data), None


class StdoutLogger(LineLogger):
    """Standard output."""

    def __init__(self) -> None:
        super().__init__(1, "standard output")


class FileLogger(LineLogger):
    """Appends to a file; `reopen` follows a rotation. Raises UsageError if it cannot be opened."""

    def __init__(self, path: Path) -> None:
        self._path = path
        super().__init__(self._open(), str(path))

    def reopen(self) -> None:
        """Switch to the file that has the name now. Raises UsageError, and then keeps the old file."""
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
            raise UsageError(f"cannot write the event file {self._path}: {error.strerror}") from error


def _is_file(descriptor: int) -> bool:
    """Return whether a write of any length stays together."""
    return stat.S_ISREG(os.fstat(descriptor).st_mode)


def _end_of_lines(data: bytes, start: int, size: int) -> int:
    """Return the end of the last line within `size` bytes from `start`, or of the first line if it is longer.

    A pipe accepts PIPE_BUF bytes atomically; another process may write between the parts of a longer write.
    """
    if len(data) - start <= size:
        return len(data)
    return data.rfind(b"\n", start, start + size) + 1 or data.index(b"\n", start) + 1


def _whole(data: list[bytes], size: int) -> int:
    """Return the number of lines within the first `size` bytes."""
    for number, text in enumerate(data):
        size -= len(text)
        if size < 0:
            return number
    return len(data)
