"""Log lines on standard error: one line for each event, as text or JSON.

Lines go through a bounded queue (hubble/base/logqueue.py), so that the process continues if standard error is not read.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from itertools import pairwise

from hubble.base.logqueue import LogQueue

FIELDS = ("session", "gateway")
"""Optional fields of a record."""
LONGEST = 4096
"""Characters of a message. The rest is cut."""
LONGEST_TRACEBACK = 16_384
"""Characters of a traceback. The beginning is cut, because the error is at the end."""
FLUSH_TIMEOUT = 0.5
"""Seconds that the process waits at its end for the reader of standard error."""


class TextFormatter(logging.Formatter):
    """`2026-11-23T05:16:53.123Z INFO message`."""

    def format(self, record: logging.LogRecord) -> str:
        line = f"{_timestamp(record)} {record.levelname:<7} {_one_line(_message(record))}"
        return f"{line}\n{self.formatException(record.exc_info)[-LONGEST_TRACEBACK:]}" if record.exc_info else line


class JSONFormatter(logging.Formatter):
    """One JSON object on each line: time, level, message, and worker, session and gateway if known."""

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
    """Puts formatted records into the process's queue. Takes no lock and never blocks."""

    def createLock(self) -> None:
        self.lock = None

    def emit(self, record: logging.LogRecord) -> None:
        try:
            write(self.format(record))
        except Exception:  # as every handler does: a faulty log call must not end the caller
            self.handleError(record)

    def flush(self) -> None:
        """Flush the queue. `logging` calls this when the process ends."""
        flush()


def set_up(level: str, format_name: str, worker: int | None = None) -> None:
    """Log Hubble's records from `level` up, and other records from warning up, in the format "text" or "json".

    worker: the number of this worker process, a field of JSON lines.
    """
    global _formatter
    _formatter = JSONFormatter(worker) if format_name == "json" else TextFormatter()
    handler = QueueHandler()
    handler.setFormatter(_formatter)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("hubble").setLevel(level.upper())


def say(text: str, level: int = logging.ERROR) -> None:
    """Write a line of the program itself: unchanged in the text format, as an object in the JSON format."""
    write(_record(text, level) if isinstance(_formatter, JSONFormatter) else text)


def write(line: str) -> None:
    """Queue a formatted line. Never blocks."""
    _queue.put(line.encode("utf-8", "backslashreplace") + b"\n")


def flush() -> bool:
    """Block the process for up to FLUSH_TIMEOUT seconds until all lines are written. Return whether they are."""
    return _queue.flush(FLUSH_TIMEOUT)


def wants_json(arguments: Sequence[str]) -> bool:
    """Return whether a command line, which may be invalid elsewhere, requests JSON logs."""
    words = [argument.lstrip("-") for argument in arguments]
    return "log-format=json" in words or ("log-format", "json") in pairwise(words)


def use_json() -> None:
    """Switch to JSON before the command line is parsed."""
    global _formatter
    _formatter = JSONFormatter()


def _record(text: str, level: int) -> str:
    return _formatter.format(logging.LogRecord("hubble", level, "", 0, "%s", (text,), None))


def _lost(count: int) -> bytes:
    text = f"{count:,} log lines were dropped because standard error was not read or failed"
    return _record(text, logging.WARNING).encode() + b"\n"


_formatter: logging.Formatter = TextFormatter()
_queue = LogQueue(2, _lost)


def _message(record: logging.LogRecord) -> str:
    text = record.getMessage()
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}... ({len(text):,} characters)"


def _timestamp(record: logging.LogRecord) -> str:
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z"


def _one_line(text: str) -> str:
    """Return the text with line breaks and control characters escaped: strangers influence log messages."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
