"""Code of both programs: exit statuses and the ports file."""

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
    """Do the work. Return the exit status. An error that Hubble raises is printed in one line."""
    try:
        work()
    except HubbleError as error:
        logs.say(f"{program}: {error}")
        return error.status
    except BrokenPipeError:
        return FAILURE
    except KeyboardInterrupt:  # Ctrl-C at a terminal needs no traceback
        return INTERRUPTED
    finally:
        logs.flush()
    return SUCCESS


def write_ports(path: str | None, content: dict[str, Any]) -> None:
    """Write `content` atomically to the file as JSON. Do nothing if `path` is None. Raises UsageError."""
    if path is None:
        return
    try:
        write_atomically(Path(path), json.dumps(content).encode() + b"\n", 0o666)
    except OSError as error:
        raise UsageError(f"the ports file {path} cannot be written: {error.strerror}") from error
