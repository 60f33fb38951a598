"""What both programs do alike: exit statuses, and telling programs which ports they got."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hubble.base.errors import HubbleError, UsageError
from hubble.base.files import write_atomically
from hubble.cli import logs

SUCCESS, FAILURE = 0, 1
INTERRUPTED = 128 + signal.SIGINT


def run(program: str, work: Callable[[], None]) -> int:
    """Do the work; the exit status. What Hubble raises is said in one line."""
    try:
        work()
    except HubbleError as error:
        logs.say(f"{program}: {error}")
        return error.status
    except BrokenPipeError:
        return FAILURE
    except KeyboardInterrupt:  # somebody at the terminal has had enough, and needs no traceback
        return INTERRUPTED
    finally:
        logs.flush()
    return SUCCESS


def write_ports(path: str | None, content: dict[str, Any]) -> None:
    """Write `content` to the file as JSON, at once and whole, if a file is wanted. Raises UsageError."""
    if path is None:
        return
    try:
        write_atomically(Path(path), json.dumps(content).encode() + b"\n", 0o666)
    except OSError as error:
        raise UsageError(f"the ports file {path} cannot be written: {error.strerror}") from error
