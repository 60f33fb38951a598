"""A turn of the hub: a callback reads, whatever it causes to be sent is written at its end.

`loop.run_callback` would do as well, but it costs another pass of the event loop, with a timer. One turn must be short:
no greenlet runs meanwhile. Everything here runs in the thread of the one hub.
"""

from __future__ import annotations

from collections.abc import Callable

import gevent

Work = Callable[[], None]

_later: list[Work] = []
_depth = 0


def at_end(work: Work) -> None:
    """Do `work`, which must not block, at the end of this turn; outside of one, as soon as this greenlet waits."""
    if _depth:
        _later.append(work)
    else:
        gevent.get_hub().loop.run_callback(work)


def turn(work: Work) -> None:
    """Do `work`, then everything that it has put off. An error of one does not keep the others from being done."""
    global _depth
    _depth += 1
    try:
        work()
    finally:
        if _depth == 1:
            _finish()
        _depth -= 1


def _finish() -> None:
    while _later:
        work = _later.pop(0)
        try:
            work()
        except Exception as error:
            gevent.get_hub().handle_error(work, type(error), error, error.__traceback__)
