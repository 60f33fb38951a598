"""Signals, uncaught errors and garbage collection in a process with a gevent hub."""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import gevent
from gevent import monkey
from gevent.hub import Hub

from hubble.base import keepalive
from hubble.base.floodlog import FloodLog
from hubble.cli.strays import described

log = logging.getLogger(__name__)

_real_sleep = monkey.get_original("time", "sleep")
_start_thread = monkey.get_original("_thread", "start_new_thread")
flood = FloodLog(log)


M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # malloc.h


def keep_buffers() -> None:
    """Have the C library keep a few megabytes of freed memory, if it has such settings.

    Otherwise each large buffer is new memory from the kernel, with a page fault for each page. That is a quarter of
    the processor time of bulk transfers.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, 2 << 20)
        mallopt(M_TRIM_THRESHOLD, 4 << 20)
        mallopt(M_TOP_PAD, 1 << 20)


def log_hub_errors() -> None:
    """Have each hub log, instead of print, an exception that ends a greenlet or a callback."""
    Hub.print_exception = _print_exception


def _print_exception(
    hub: Any, context: Any, kind: type[BaseException], error: BaseException | None, trace: TracebackType | None
) -> None:
    """Log a few records with tracebacks of each kind of exception in an interval. The rest are counted."""
    kind, error, trace = hub._normalize_exception(kind, error, trace)
    failure = error if error is not None else kind()
    work = getattr(context, "_run", None)
    what = getattr(work, "__qualname__", "") or (context if isinstance(context, str) else type(context).__name__)
    info = (kind, failure, trace)
    flood.log(logging.ERROR, f"{what} failed: {kind.__name__}", "", "%s failed: %s", what, described(failure),
              exc_info=info)  # fmt: skip


def spare_the_collector() -> None:
    """Exclude imported objects from garbage collection: a full collection over them blocks the hub for over 20 ms."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)


def stop_on_signals(stop: Callable[[], None], within: float | None = None) -> None:
    """Call `stop` in a greenlet at the first SIGINT or SIGTERM. Exit immediately at the second.

    If the process still runs `within` seconds after the first signal, it exits immediately with status 1.
    """
    received: list[int] = []

    def receive(number: int) -> None:
        received.append(number)
        if len(received) > 1:
            os._exit(128 + number)
        if within is not None:
            _end_in(within)
        gevent.spawn(stop)

    for number in (signal.SIGINT, signal.SIGTERM):
        gevent.signal_handler(number, receive, number)


def _end_in(seconds: float) -> None:
    """End the process after `seconds`, from a native thread, even if the hub is blocked."""

    def end() -> None:
        _real_sleep(seconds)
        os._exit(1)  # without a log line: the process may be blocked on standard error

    _start_thread(end, ())


def survive_signals() -> None:
    """Log and ignore SIGHUP and SIGUSR2, which would end the process silently."""

    def ignore(number: int) -> None:
        name = signal.Signals(number).name
        log.warning("ignored %s: the agent cannot reload; restart it to change its options", name)

    for number in (signal.SIGHUP, signal.SIGUSR2):
        gevent.signal_handler(number, ignore, number)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # Python's own default, unless a parent has changed it


def log_greenlets_on_signal() -> None:
    """Log the number and purpose of the greenlets at each SIGUSR1, to diagnose a busy process."""
    gevent.signal_handler(signal.SIGUSR1, lambda: log.info("%s", greenlets()))


def greenlets() -> str:
    """Return the number of greenlets and their functions, most frequent first, as one line."""
    running = [each for each in gc.get_objects() if isinstance(each, gevent.Greenlet) and not each.ready()]
    places = Counter(_place(each) for each in running)
    return f"{len(running)} greenlets: " + ", ".join(f"{count} in {place}" for place, count in places.most_common(20))


def _place(running: gevent.Greenlet) -> str:
    """Return the outermost of Hubble's functions that the greenlet is in."""
    frame, place = running.gr_frame, "others' code"
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module.startswith("hubble") and module != keepalive.__name__:
            place = f"{Path(frame.f_code.co_filename).stem}.{frame.f_code.co_qualname}"
        frame = frame.f_back
    return place
