"""Decisions that are used again."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from hubble.policy import Authorizer, Cached, ConnectionRequest, Decision, RegistrationRequest, denied, failed, granted
from hubble.policy.cached import MAX_SECONDS

REQUEST = ConnectionRequest(
    host="h", port=22, gateway="g", key="s3cret", source="src", source_ip="192.0.2.1", identity="me",
    session="session-1",
)  # fmt: skip
REGISTRATION = RegistrationRequest("n", "s3cret", "192.0.2.1", "CN=n", {"A": "b"})


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Counting(Authorizer):
    """Grants for 30 seconds, and counts how often it is asked."""

    def __init__(self) -> None:
        self.asked: list[object] = []
        self.answer = granted(cache_seconds=30)
        self.changed = False

    def connect(self, request: ConnectionRequest) -> Decision:
        self.asked.append(request)
        return self.answer

    def register(self, request: RegistrationRequest) -> Decision:
        self.asked.append(request)
        return self.answer

    def reload_if_changed(self) -> bool:
        return self.changed


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def inner() -> Counting:
    return Counting()


@pytest.fixture
def cached(inner: Counting, clock: Clock) -> Cached:
    return Cached(inner, max_entries=3, clock=clock)


def test_a_decision_lasts_as_long_as_it_says(cached: Cached, inner: Counting, clock: Clock) -> None:
    cached.connect(REQUEST)
    clock.now += 29.9
    assert cached.connect(REQUEST).allowed
    assert len(inner.asked) == 1
    clock.now += 0.2
    cached.connect(REQUEST)
    assert len(inner.asked) == 2


@pytest.mark.parametrize("answer", [granted(), failed("x"), replace(failed("x"), cache_seconds=30)])
def test_some_are_never_kept(cached: Cached, inner: Counting, answer: Decision) -> None:
    inner.answer = answer
    cached.connect(REQUEST)
    cached.connect(REQUEST)
    assert len(inner.asked) == 2


def test_denials_are_kept_too(cached: Cached, inner: Counting) -> None:
    inner.answer = denied("no", cache_seconds=30)
    assert cached.connect(REQUEST) == cached.connect(REQUEST) == inner.answer
    assert len(inner.asked) == 1


def test_no_decision_lasts_longer_than_a_day(cached: Cached, inner: Counting, clock: Clock) -> None:
    inner.answer = granted(cache_seconds=1e9)
    cached.connect(REQUEST)
    clock.now += MAX_SECONDS + 1
    cached.connect(REQUEST)
    assert len(inner.asked) == 2


@pytest.mark.parametrize("name", [field.name for field in fields(ConnectionRequest)])
def test_each_fact_counts_but_the_session(cached: Cached, inner: Counting, name: str) -> None:
    cached.connect(REQUEST)
    value = getattr(REQUEST, name)
    other: Any = (not value) if isinstance(value, bool) else value + (1 if isinstance(value, int) else "x")
    change: dict[str, Any] = {name: other}
    cached.connect(replace(REQUEST, **change))
    assert len(inner.asked) == (1 if name == "session" else 2)


@pytest.mark.parametrize("name", [field.name for field in fields(RegistrationRequest)])
def test_each_fact_of_a_registration_counts(cached: Cached, inner: Counting, name: str) -> None:
    cached.register(REGISTRATION)
    cached.register(REGISTRATION)
    assert len(inner.asked) == 1
    other: Any = {"A": "c"} if name == "headers" else getattr(REGISTRATION, name) + "x"
    cached.register(replace(REGISTRATION, **{name: other}))
    assert len(inner.asked) == 2


def test_kinds_of_questions_are_apart(cached: Cached, inner: Counting) -> None:
    cached.connect(REQUEST)
    cached.resume(REQUEST)
    assert len(inner.asked) == 2


def test_the_least_used_go_first(cached: Cached, inner: Counting) -> None:
    for port in (1, 2, 3, 1, 4):
        cached.connect(replace(REQUEST, port=port))
    assert len(cached) == 3
    inner.asked.clear()
    for port in (1, 3, 4, 2):
        cached.connect(replace(REQUEST, port=port))
    assert [request.port for request in inner.asked if isinstance(request, ConnectionRequest)] == [2]


def test_a_reload_forgets(cached: Cached, inner: Counting) -> None:
    cached.connect(REQUEST)
    assert not cached.reload_if_changed()
    assert len(cached) == 1
    inner.changed = True
    assert cached.reload_if_changed()
    assert len(cached) == 0
    cached.connect(REQUEST)
    cached.reload()
    assert len(cached) == 0


def test_a_decision_under_way_is_not_kept_after_a_reload(inner: Counting) -> None:
    class Reloading(Counting):
        def connect(self, request: ConnectionRequest) -> Decision:
            caching.clear()
            return super().connect(request)

    caching = Cached(Reloading())
    caching.connect(REQUEST)
    assert len(caching) == 0


def test_keys_are_not_kept(cached: Cached) -> None:
    cached.connect(REQUEST)
    cached.register(REGISTRATION)
    assert "s3cret" not in repr(vars(cached))
    assert not any(getattr(part, "key", "") for entry in cached._kept for part in entry[1])  # type: ignore[index]
