"""Work in a thread of gevent's pools whose errors are the caller's, and nobody else's.

The pool itself would hand an error to the hub as well, which prints a traceback for each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from gevent.threadpool import ThreadPool

Result = TypeVar("Result")


def in_thread(pool: ThreadPool, work: Callable[..., Result], *arguments: object) -> Result:
    """Return what `work` returns, or raise what it raises, in a thread of the pool. The hub goes on."""
    done: tuple[Result | None, Exception | None] = pool.apply(_caught, (work, arguments))
    result, error = done
    if error is not None:
        raise error
    return result  # type: ignore[return-value]  # it is one, without an error


def _caught(work: Callable[..., Result], arguments: tuple[object, ...]) -> tuple[Result | None, Exception | None]:
    try:
        return work(*arguments), None
    except Exception as error:
        return None, error
