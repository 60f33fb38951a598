"""What the programs write on standard error: one line for each thing that happened, for people or for programs.

Lines go through a bounded queue (hubble/base/logqueue.py): the process goes on if nobody reads standard error.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from itertools import pairwise

from hubble.base.logqueue import LogQueue

FIELDS = ("session", "gateway")
"""What a record may carry besides its message."""
LONGEST = 4096
"""Characters of a message; the rest is cut."""
LONGEST_TRACEBACK = 16_384
"""Characters of a traceback; its beginning is cut, since the error stands at its end."""
FLUSH_TIMEOUT = 0.5
"""Seconds that the end of the process may wait for whoever reads standard error."""


class TextFormatter(logging.Formatter):
    """`2026-11-23T05:16:53.123Z INFO message`."""

    def format(self, record: logging.LogRecord) -> str:
        line = f"{_timestamp(record)} {record.levelname:<7} {_one_line(_message(record))}"
        return f"{line}\n{self.formatException(record.exc_info)[-LONGEST_TRACEBACK:]}" if record.exc_info else line


class JSONFormatter(logging.Formatter):
    """One JSON object a line: time, level, message; worker, session and gateway where there are any."""

    def __init__(self, worker: int | None = None) -> None:
        super().__init__()
        self._of_process = {"worker": worker} if worker is not None else {}

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": _timestamp(record),
            "level": record.levelname.lower(),
            "message": _message(record),
            **self._of_process,
        }
        entry |= {name: getattr(record, name) for name in FIELDS if hasattr(record, name)}
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)[-LONGEST_TRACEBACK:]
        return json.dumps(entry, ensure_ascii=False)


class QueueHandler(logging.Handler):
    """Puts formatted records into the process's queue; needs no lock, and never blocks."""

    def createLock(self) -> None:
        self.lock = None

    def emit(self, record: logging.LogRecord) -> None:
        try:
            write(self.format(record))
        except Exception:  # as every handler does: a mistake in a call must not end the caller
            self.handleError(record)

    def flush(self) -> None:
        """`logging` calls this when the process ends."""
        flush()


def set_up(level: str, format_name: str, worker: int | None = None) -> None:
    """Log Hubble's records of at least `level` in the named format, "text" or "json"; others' from warning on.

    worker: the number of this process among those that write to the same place, which JSON tells.
    """
    global _formatter
    _formatter = JSONFormatter(worker) if format_name == "json" else TextFormatter()
    handler = QueueHandler()
    handler.setFormatter(_formatter)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("hubble").setLevel(level.upper())


def say(text: str, level: int = logging.ERROR) -> None:
    """Write a line of the program itself: as it is in the format for people, an object in the one for programs."""
    write(_record(text, level) if isinstance(_formatter, JSONFormatter) else text)


def write(line: str) -> None:
    """Put a line that is formatted already into the queue. Never blocks."""
    _queue.put(line.encode("utf-8", "backslashreplace") + b"\n")


def flush() -> bool:
    """Block the process until all lines are written, at most FLUSH_TIMEOUT; whether they are."""
    return _queue.flush(FLUSH_TIMEOUT)


def wants_json(arguments: Sequence[str]) -> bool:
    """Whether a command line asks for JSON, also one that is wrong in another place."""
    words = [argument.lstrip("-") for argument in arguments]
    return "log-format=json" in words or ("log-format", "json") in pairwise(words)


def use_json() -> None:
    """Write JSON from now on, before the command line is understood."""
    global _formatter
    _formatter = JSONFormatter()


def _record(text: str, level: int) -> str:
    return _formatter.format(logging.LogRecord("hubble", level, "", 0, "%s", (text,), None))


def _lost(count: int) -> bytes:
    text = f"{count:,} log lines were dropped: standard error was not read, or could not be written"
    return _record(text, logging.WARNING).encode() + b"\n"


_formatter: logging.Formatter = TextFormatter()
_queue = LogQueue(2, _lost)


def _message(record: logging.LogRecord) -> str:
    text = record.getMessage()
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}... ({len(text):,} characters)"


def _timestamp(record: logging.LogRecord) -> str:
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z"


def _one_line(text: str) -> str:
    """The text without what would begin a new line, or steer a terminal: others have a say in what is logged."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
