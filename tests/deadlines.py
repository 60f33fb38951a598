"""Ends a test that takes too long, from gevent's own loop.

pytest-timeout's signal raises in whichever greenlet happens to run: often not the test's, which then goes on and
passes.
"""

from __future__ import annotations

import faulthandler

import gevent
import pytest
from pytest_timeout import Settings

GRACE = 30.0  # seconds after which a test that never yields to gevent takes the whole run down

_timer = pytest.StashKey[gevent.Timeout]()


@pytest.hookimpl(tryfirst=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: Settings) -> bool:
    late = pytest.fail.Exception(f"took longer than {settings.timeout} s")
    item.stash[_timer] = gevent.Timeout.start_new(settings.timeout, late)
    faulthandler.dump_traceback_later(settings.timeout + GRACE, exit=True)
    return True


@pytest.hookimpl(tryfirst=True)
def pytest_timeout_cancel_timer(item: pytest.Item) -> bool:
    faulthandler.cancel_dump_traceback_later()
    timer = item.stash.get(_timer, None)
    if timer is not None:
        timer.close()
    return True
