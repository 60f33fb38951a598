"""Log lines for a descriptor that may block, written by a native thread.

The reader of standard error may stop reading: a full pipe would then block the process at its next log line. Lines
wait in a bounded queue instead. A line that does not fit is dropped. The number of dropped lines is reported once the
descriptor accepts data again.

No lock is taken: a line may come from a greenlet, a thread, a signal handler or the garbage collector.
"""

from __future__ import annotations

import os
import signal
import sys
from _queue import Empty, SimpleQueue
from collections.abc import Callable
from importlib import import_module
from typing import Any

MAX_LINES = 10_000
MAX_BYTES = 4 * 1024 * 1024
AT_ONCE = 4096
"""Bytes of one write. A pipe takes up to PIPE_BUF bytes atomically, so lines of several processes do not mix."""
RETRY = 0.05
"""Seconds between attempts to write to a descriptor that another process has made non-blocking."""
FLUSH_POLL = 0.002
"""Seconds between checks in `flush` whether every line is written."""


def original(module: str, name: str) -> Any:
    """Return a function of the standard library without gevent's patches."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey.get_original(module, name) if monkey is not None else getattr(import_module(module), name)


class LogQueue:
    """A bounded queue of lines for `descriptor`. `lost(count)` returns the line that reports dropped lines."""

    def __init__(
        self,
        descriptor: int,
        lost: Callable[[int], bytes],
        *,
        max_lines: int = MAX_LINES,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self.dropped = 0
        """Lines that did not fit or could not be written, for example to a full disk."""
        self._descriptor = descriptor
        self._lost = lost
        self._max_lines = max_lines
        self._max_bytes = max_bytes
        self._lines: SimpleQueue[bytes] = SimpleQueue()
        self._bytes_in = self._bytes_out = 0
        self._lines_in = self._lines_out = 0
        self._reported = 0
        self._stuck_at = -1
        self._running = False
        self._sleep = original("time", "sleep")

    def put(self, line: bytes) -> None:
        """Queue a line that ends with a line feed. Never blocks, never raises."""
        if self._lines_in - self._lines_out >= self._max_lines or (
            self._bytes_in - self._bytes_out + len(line) > self._max_bytes
        ):
            self.dropped += 1
            return
        if not self._running and not self._start():
            self.dropped += 1
            return
        self._bytes_in += len(line)
        self._lines_in += 1
        self._lines.put(line)

    def flush(self, timeout: float) -> bool:
        """Block the whole process for up to `timeout` seconds until every line is written.

        Return whether every line is written, immediately if no line was written since the last flush that failed.
        """
        for _ in range(max(1, round(timeout / FLUSH_POLL))):
            if self._lines_out >= self._lines_in or self._lines_out == self._stuck_at:
                break
            self._sleep(FLUSH_POLL)
        done = self._lines_out >= self._lines_in
        self._stuck_at = -1 if done else self._lines_out
        return done

    def _start(self) -> bool:
        self._running = True
        try:
            original("_thread", "start_new_thread")(self._run, ())
        except RuntimeError:  # no thread is available; the next line retries
            self._running = False
        return self._running

    def _run(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # the main thread handles signals
        while True:
            lines = self._take()
            written = self._write(b"".join(lines))
            if not written:
                self.dropped += len(lines)
            self._bytes_out += sum(map(len, lines))
            self._lines_out += len(lines)
            if written and self.dropped > self._reported:
                count, self._reported = self.dropped - self._reported, self.dropped
                self._write(self._lost(count))

    def _take(self) -> list[bytes]:
        """Wait for a line. Return it with the next lines that fit into the same write."""
        lines = [self._lines.get()]
        room = AT_ONCE - len(lines[0])
        while room > 0 and (line := self._next()):
            lines.append(line)
            room -= len(line)
        return lines

    def _next(self) -> bytes:
        try:
            return self._lines.get_nowait()
        except Empty:
            return b""

    def _write(self, data: bytes) -> bool:
        """Write data, however long that takes. Return False if the descriptor fails."""
        while data:
            try:
                data = data[os.write(self._descriptor, data) :]
            except BlockingIOError:
                self._sleep(RETRY)
            except OSError:  # a full disk or a closed pipe: there is nowhere to report it
                return False
        return True
