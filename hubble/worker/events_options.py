"""The options of the event loggers."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from hubble.base.errors import UsageError
from hubble.events import EventLogger
from hubble.events.choose import event_logger, shown_target


def event_loggers(options: Namespace) -> list[tuple[str, EventLogger]]:
    """Return the loggers that the options name, each with its name for the log. Raises UsageError."""
    targets: list[str] = options.events or []
    if not any(target.startswith(("https:", "http:")) for target in targets):
        for name in ("events_spool", "events_secret_file"):
            if getattr(options, name):
                raise UsageError(f"--{name.replace('_', '-')} needs --events https://...")
    spool = Path(options.events_spool) if options.events_spool else None
    secret = _secret(Path(options.events_secret_file)) if options.events_secret_file else b""
    return [(shown_target(target), event_logger(target, spool=spool, secret=secret)) for target in targets]


def _secret(path: Path) -> bytes:
    try:
        secret = path.read_bytes().strip()
    except OSError as error:
        raise UsageError(f"--events-secret-file: cannot read {path}: {error.strerror}") from error
    if len(secret) < 16:
        raise UsageError(f"--events-secret-file: the secret in {path} is too short; it needs at least 16 bytes")
    return secret
