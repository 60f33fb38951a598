"""Run a function in a gevent thread pool and raise its errors in the caller only.

The pool itself would also report each error to the hub, which prints a traceback.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from gevent.threadpool import ThreadPool

Result = TypeVar("Result")


def in_thread(pool: ThreadPool, work: Callable[..., Result], *arguments: object) -> Result:
    """Run `work` in a thread of the pool; return its result or raise its error. Other greenlets run meanwhile."""
    done: tuple[Result | None, Exception | None] = pool.apply(_caught, (work, arguments))
    result, error = done
    if error is not None:
        raise error
    return result  # type: ignore[return-value]  # without an error there is a result


def _caught(work: Callable[..., Result], arguments: tuple[object, ...]) -> tuple[Result | None, Exception | None]:
    try:
        return work(*arguments), None
    except Exception as error:
        return None, error
