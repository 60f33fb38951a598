"""Turn other output on standard error into log lines, bounded and in the chosen format.

This output consists of tracebacks that Python prints, warnings, and texts that libraries print.
"""

from __future__ import annotations

import atexit
import io
import logging
import os
import sys
import threading
from types import TracebackType
from typing import Any

from hubble.cli import logs

log = logging.getLogger("hubble.stray")


def catch() -> None:
    """Replace this process's standard error, the hooks for unhandled exceptions, and the display of warnings."""
    sys.stderr = StandardError()
    sys.excepthook = _unhandled
    sys.unraisablehook = _unraisable
    threading.excepthook = _in_thread
    logging.captureWarnings(True)
    atexit.register(logs.flush)


class StandardError(io.TextIOBase):
    """A replacement for `sys.stderr` that logs each complete line. Never blocks.

    Before logging is set up, lines are written unchanged.
    """

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self) -> None:
        self._rest = ""

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        if len(self._rest) > logs.LONGEST:
            lines, self._rest = [*lines, self._rest], ""
        for line in lines:
            if logging.getLogger().handlers:
                if line.strip():
                    log.warning("%s", line)
            else:
                logs.write(line)
        return len(text)

    def fileno(self) -> int:
        return 2

    def isatty(self) -> bool:
        return os.isatty(2)

    def writable(self) -> bool:
        return True


def _unhandled(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    log.critical("the program failed: %s", described(error), exc_info=(kind, error, traceback))


def _unraisable(caught: Any) -> None:
    error = caught.exc_value
    if error is None:
        error = caught.exc_type()
    what = caught.err_msg or "an exception was ignored"
    log.error("%s: %s", what, described(error), exc_info=(caught.exc_type, error, caught.exc_traceback))


def _in_thread(caught: Any) -> None:
    if caught.exc_type is SystemExit or caught.exc_value is None:
        return
    info = (caught.exc_type, caught.exc_value, caught.exc_traceback)
    log.error("a thread failed: %s", described(caught.exc_value), exc_info=info)


def described(error: BaseException) -> str:
    """Return an exception as one line."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
