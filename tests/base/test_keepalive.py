"""The greenlet that goes on, whatever it meets."""

from __future__ import annotations

import logging

import gevent
import pytest

from hubble.base import keepalive
from hubble.base.keepalive import keep_running


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keepalive, "RETRY_FIRST", 0.001)
    monkeypatch.setattr(keepalive, "RETRY_MOST", 0.002)


def test_a_function_is_called_until_it_returns() -> None:
    outcomes: list[BaseException | None] = [OSError(24, "full"), MemoryError(), gevent.Timeout(1), KeyError("x"), None]

    def work(what: str) -> None:
        assert what == "this"
        if (outcome := outcomes.pop(0)) is not None:
            raise outcome

    keep_running("work", work, "this").get(timeout=5)
    assert not outcomes


def test_it_can_be_killed() -> None:
    def work() -> None:
        gevent.sleep(60)

    greenlet = keep_running("work", work)
    gevent.sleep(0)
    greenlet.kill(timeout=5)
    assert greenlet.dead


def test_failures_are_logged_rarely_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    attempts = iter(range(50))

    def work() -> None:
        if next(attempts) < 40:
            raise OSError(28, "No space left on device")

    keep_running("the lease", work).get(timeout=5)
    (record,) = caplog.records
    assert record.getMessage().startswith("the lease failed: [Errno 28] No space left on device; retrying in 0.0 s")
    assert record.exc_info is None


def test_a_mistake_has_a_traceback(caplog: pytest.LogCaptureFixture) -> None:
    errors = [RuntimeError("ours")]

    def work() -> None:
        if errors:
            raise errors.pop()

    keep_running("work", work).get(timeout=5)
    assert caplog.records[0].exc_info is not None


def test_a_log_that_fails_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*values: object, **fields: object) -> None:
        raise MemoryError

    monkeypatch.setattr(logging.getLogger(keepalive.__name__), "error", fail)
    errors: list[Exception] = [MemoryError(), OSError(5, "io")]

    def work() -> None:
        if errors:
            raise errors.pop()

    keep_running("work", work).get(timeout=5)
