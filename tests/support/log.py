"""What a process says, line by line: kept in a file for the reader of a failure, and waited for by tests."""

from __future__ import annotations

import re
from pathlib import Path
from typing import IO

import gevent

from tests.support.waiting import Changes


class Log:
    """The lines of one process, over all its restarts."""

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self.path = path
        self.lines: list[str] = []
        self._ended = True
        self._changes = Changes()

    def follow(self, stream: IO[bytes]) -> gevent.Greenlet:
        """Takes lines from `stream` in a greenlet, which ends with it."""
        self._ended = False
        return gevent.spawn(self._take, stream)

    def _take(self, stream: IO[bytes]) -> None:
        with self.path.open("ab") as file:
            for raw in stream:
                file.write(raw)
                file.flush()
                self.lines.append(raw.decode("utf-8", "replace").rstrip("\r\n"))
                self._changes.happened()
        self._ended = True
        self._changes.happened()

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def mark(self) -> int:
        """A place in the log; `wait_for(..., after=mark)` disregards what came before it."""
        return len(self.lines)

    def matches(self, pattern: str, after: int = 0) -> list[str]:
        return [line for line in self.lines[after:] if re.search(pattern, line)]

    def wait_for(self, pattern: str, *, after: int = 0, times: int = 1, within: float = 10.0) -> str:
        """The `times`-th line that matches `pattern`. Fails after `within` seconds, or when the process ends first."""

        def found() -> str | None:
            lines = self.matches(pattern, after)
            if len(lines) >= times:
                return lines[times - 1]
            assert not self._ended, f"{self.name} ended without logging {pattern!r} {times} time(s):\n{self.text}"
            return None

        line = self._changes.wait_until(found, within, f"{self.name} logs {pattern!r} {times} time(s)")
        assert line is not None
        return line
