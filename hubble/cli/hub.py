"""What a process with a hub does about signals and its own memory."""

from __future__ import annotations

import gc
import logging
import os
import signal
from collections.abc import Callable

import gevent

from hubble.errors import HubbleError

log = logging.getLogger(__name__)


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


def try_to_reload(reload: Callable[[], None]) -> str:
    """Reload; what could not be used, and stays as it was, or ""."""
    try:
        reload()
    except HubbleError as error:
        return str(error)
    return ""
