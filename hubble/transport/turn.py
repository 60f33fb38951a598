"""A turn of the hub: a callback reads, and the writes that it causes happen at its end.

`loop.run_callback` would work too, but it costs another pass of the event loop with a timer. A turn must be short,
because no greenlet runs during it. Call these functions only in the thread of the hub.
"""

from __future__ import annotations

from collections.abc import Callable

import gevent

Work = Callable[[], None]

_later: list[Work] = []
_depth = 0


def at_end(work: Work) -> None:
    """Call `work`, which must not block, at the end of this turn. Outside a turn, call it when this greenlet waits."""
    if _depth:
        _later.append(work)
    else:
        gevent.get_hub().loop.run_callback(work)


def turn(work: Work) -> None:
    """Call `work`, then all work that `at_end` collected. An exception in one does not stop the others."""
    global _depth
    _depth += 1
    try:
        work()
    finally:
        try:
            if _depth == 1:
                _finish()
        finally:  # KeyboardInterrupt may come at any time; with a wrong depth nothing would be written any more
            _depth -= 1


def _finish() -> None:
    while _later:
        work = _later.pop(0)
        try:
            work()
        except Exception as error:
            gevent.get_hub().handle_error(work, type(error), error, error.__traceback__)
