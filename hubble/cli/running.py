"""What both programs do alike: signals, exit statuses, and telling programs which ports they got."""

from __future__ import annotations

import gc
import json
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent

from hubble.errors import HubbleError, UsageError

log = logging.getLogger(__name__)

SUCCESS, FAILURE, USAGE = 0, 1, 2


def run(program: str, work: Callable[[], None]) -> int:
    """Do the work; the exit status. What Hubble raises is said in one line."""
    try:
        work()
    except UsageError as error:
        return complain(program, error, USAGE)
    except HubbleError as error:
        return complain(program, error, FAILURE)
    except BrokenPipeError:
        return FAILURE
    return SUCCESS


def complain(program: str, error: Exception, status: int) -> int:
    """Say what is wrong, in one line; gives back the status."""
    print(f"{program}: {error}", file=sys.stderr)
    return status


def spare_the_collector() -> None:
    """What has been imported stays: a full collection that looks at it all again holds the hub for 20 ms and more."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)


def stop_on_signals(stop: Callable[[], None]) -> None:
    """Call `stop`, in a greenlet, at the first SIGINT or SIGTERM; end at once at the second."""
    received: list[int] = []

    def receive(number: int) -> None:
        received.append(number)
        if len(received) > 1:
            os._exit(128 + number)
        gevent.spawn(stop)

    for number in (signal.SIGINT, signal.SIGTERM):
        gevent.signal_handler(number, receive, number)


def reload_on_signal(reload: Callable[[], None]) -> None:
    """Call `reload`, in a greenlet, at each SIGHUP; what cannot be read again stays as it was, and is logged."""

    def try_to_reload() -> None:
        try:
            reload()
        except HubbleError as error:
            log.error("not reloaded: %s", error)
        else:
            log.info("reloaded")

    gevent.signal_handler(signal.SIGHUP, gevent.spawn, try_to_reload)


def write_ports(path: str | None, content: dict[str, Any]) -> None:
    """Write `content` to the file as JSON, at once and whole, if a file is wanted. Raises UsageError."""
    if path is None:
        return
    temporary = Path(f"{path}.{os.getpid()}")
    try:
        temporary.write_text(json.dumps(content) + "\n")
        temporary.replace(path)
    except OSError as error:
        raise UsageError(f"the ports file {path} cannot be written: {error.strerror}") from error
