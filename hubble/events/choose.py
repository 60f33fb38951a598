"""Selects a logger by the value of an --events option."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

from hubble.base.errors import UsageError
from hubble.events.feed import EventLogger
from hubble.events.files import FileLogger, StdoutLogger
from hubble.events.spool import Spool
from hubble.events.sqlite import SQLiteLogger
from hubble.events.syslog import DEFAULT_PATH, SyslogLogger
from hubble.events.webhook import WebhookLogger, shown

FORMS = "stdout, PATH, sqlite:PATH, https://HOST/PATH, syslog:[HOST:PORT|PATH] or python:package.module:Class"


def event_logger(text: str, *, spool: Path | None = None, secret: bytes = b"") -> EventLogger:
    """Return the logger that `text` names, in one of FORMS. Raises UsageError.

    spool, secret: a webhook's directory for waiting batches, and the key of its signatures.
    """
    scheme, colon, rest = text.partition(":")
    if text == "stdout":
        return StdoutLogger()
    if not colon:
        return _file(text)
    match scheme:
        case "sqlite" if rest:
            return SQLiteLogger(Path(rest))
        case "https" | "http":
            return WebhookLogger(text, secret=secret, spool=Spool(spool) if spool else None)
        case "syslog":
            return SyslogLogger(_syslog_address(rest))
        case "python":
            return load_python_logger(rest)
    if "/" in scheme:  # a path that contains a colon
        return _file(text)
    raise UsageError(f"--events {text!r} names no logger; write {FORMS}")


def shown_target(text: str) -> str:
    """Return the value of an --events option without its secrets."""
    return shown(text) if text.startswith(("https:", "http:")) else text


def load_python_logger(reference: str) -> EventLogger:
    """Return an instance of the user's class "package.module:Class", which has a method `log`. Raises UsageError.

    The working directory is searched for modules as well.
    """
    module_name, colon, class_name = reference.partition(":")
    if not (module_name and colon and class_name):
        raise UsageError(f"cannot load an event logger from {reference!r}; write python:package.module:Class")
    directory = str(Path.cwd())
    if directory not in sys.path:
        sys.path.append(directory)
    try:
        found = getattr(importlib.import_module(module_name), class_name, None)
        logger: EventLogger | None = found() if callable(found) else None
    except Exception as error:  # the user's code can raise anything
        raise UsageError(f"cannot load {reference}: {type(error).__name__}: {error}") from error
    if logger is None or not callable(getattr(logger, "log", None)):
        raise UsageError(f"cannot load {reference}: it is not a class with a method log(event)")
    return logger


def _file(text: str) -> FileLogger:
    if not text:
        raise UsageError(f"--events is empty; write {FORMS}")
    return FileLogger(Path(text))


def _syslog_address(text: str) -> str | tuple[str, int]:
    if not text or text.startswith("/"):
        return text or DEFAULT_PATH
    match = re.fullmatch(r"(?P<host>\[[^]]+\]|[^:]+):(?P<port>\d{1,5})", text)
    if match is None or int(match["port"]) > 65535:
        raise UsageError(
            f"--events syslog:{text}: the address is invalid; write syslog:, syslog:/dev/log or syslog:host:514"
        )
    return match["host"].strip("[]"), int(match["port"])
