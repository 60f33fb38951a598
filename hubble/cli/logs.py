"""What the programs write on standard error: one line for each thing that happened, for people or for programs."""

from __future__ import annotations

import json
import logging
import sys
import time

FIELDS = ("session", "gateway")
"""What a record may carry besides its message."""


class TextFormatter(logging.Formatter):
    """`2026-11-23T05:16:53.123Z INFO message`."""

    def format(self, record: logging.LogRecord) -> str:
        line = f"{_timestamp(record)} {record.levelname:<7} {_one_line(record.getMessage())}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JSONFormatter(logging.Formatter):
    """One JSON object a line: time, level, message; worker, session and gateway where there are any."""

    def __init__(self, worker: int | None = None) -> None:
        super().__init__()
        self._of_process = {"worker": worker} if worker is not None else {}

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": _timestamp(record),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **self._of_process,
        }
        entry |= {name: getattr(record, name) for name in FIELDS if hasattr(record, name)}
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


def set_up(level: str, format_name: str, worker: int | None = None) -> None:
    """Log Hubble's records of at least `level` in the named format, "text" or "json"; others' from warning on.

    worker: the number of this process among those that write to the same place, which JSON tells.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JSONFormatter(worker) if format_name == "json" else TextFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("hubble").setLevel(level.upper())


def _timestamp(record: logging.LogRecord) -> str:
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z"


def _one_line(text: str) -> str:
    """The text without what would begin a new line, or steer a terminal: others have a say in what is logged."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
