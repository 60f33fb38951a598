"""The authorizers without a file, the user's own, and failing closed."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from hubble.base.errors import UsageError
from hubble.policy import (
    Authorizer,
    Cached,
    ConnectionRequest,
    Decision,
    DenyAll,
    FailClosed,
    FunctionPolicy,
    GrantAll,
    RegistrationRequest,
    denied,
    granted,
    guarded,
    load_python_authorizer,
)

CONNECTION = ConnectionRequest(host="h", port=22, gateway="g", key="s3cret")
REGISTRATION = RegistrationRequest(name="g", key="s3cret")


class Raising(Authorizer):
    def connect(self, request: ConnectionRequest) -> Decision:
        raise LookupError(f"no such key: {request.key}")

    def register(self, request: RegistrationRequest) -> Decision:
        raise LookupError(f"no such key: {request.key}")

    def event(self, event: Mapping[str, object]) -> None:
        raise LookupError


class TestReady:
    def test_grant_all(self) -> None:
        policy = GrantAll()
        assert policy.connect(CONNECTION).allowed
        assert policy.resume(CONNECTION).allowed
        assert policy.register(REGISTRATION).allowed

    def test_deny_all_lets_agents_register(self) -> None:
        policy = DenyAll()
        assert policy.connect(CONNECTION).reason == policy.resume(CONNECTION).reason == "Unauthorized"
        assert policy.register(REGISTRATION).allowed

    def test_resume_is_connect_unless_told(self) -> None:
        assert FunctionPolicy(lambda request: request.resumes).resume(ConnectionRequest(resumes=True)).allowed

    def test_events_and_reloads_are_nobodys_business(self) -> None:
        policy = GrantAll()
        policy.event({})
        policy.reload()
        assert policy.reload_if_changed() is False


class TestFunction:
    def test_booleans_and_decisions(self) -> None:
        assert FunctionPolicy(lambda request: request.port == 22).connect(CONNECTION).allowed
        assert FunctionPolicy(lambda _request: False).connect(CONNECTION).reason == "Unauthorized"
        assert FunctionPolicy(lambda _request: denied("why")).connect(CONNECTION).detail == "why"

    def test_registration(self) -> None:
        assert FunctionPolicy(lambda _request: True).register(REGISTRATION).allowed
        assert (
            not FunctionPolicy(lambda _request: True, lambda request: request.name != "g")
            .register(REGISTRATION)
            .allowed
        )

    @pytest.mark.parametrize("answer", [None, 1, "yes"])
    def test_anything_else_denies(self, answer: Any) -> None:
        decision = FailClosed(FunctionPolicy(lambda _request: answer)).connect(CONNECTION)
        assert (decision.allowed, decision.error) == (False, True)


class TestFailClosed:
    @pytest.mark.parametrize("ask", ["connect", "resume", "register"])
    def test_an_exception_denies(self, ask: str, caplog: pytest.LogCaptureFixture) -> None:
        request = REGISTRATION if ask == "register" else CONNECTION
        decision = getattr(FailClosed(Raising()), ask)(request)
        assert (decision.allowed, decision.error, decision.reason) == (False, True, "Authorization error.")
        assert decision.detail.startswith("LookupError: no such key: [key ")
        assert "authorization failed: LookupError" in caplog.text
        assert "s3cret" not in caplog.text

    def test_no_decision_denies(self) -> None:
        class Sloppy(Authorizer):
            def connect(self, request: ConnectionRequest) -> Decision:
                return True  # type: ignore[return-value]

        decision = FailClosed(Sloppy()).connect(CONNECTION)
        assert decision.error
        assert decision.detail.endswith("Sloppy.connect returned a bool, not a Decision")

    def test_an_event_never_raises(self, caplog: pytest.LogCaptureFixture) -> None:
        FailClosed(Raising()).event({})
        assert "failed to handle an event" in caplog.text

    def test_what_ends_a_greenlet_is_no_error(self) -> None:
        class Ended(Authorizer):
            def connect(self, request: ConnectionRequest) -> Decision:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            FailClosed(Ended()).connect(CONNECTION)

    def test_the_rest_is_handed_on(self) -> None:
        told: list[str] = []

        class Told(GrantAll):
            def event(self, event: Mapping[str, object]) -> None:
                told.append(str(event))

            def reload(self) -> None:
                told.append("reload")

            def reload_if_changed(self) -> bool:
                return True

        policy = guarded(Told())
        policy.event({})
        policy.reload()
        assert policy.reload_if_changed()
        assert told == ["{}", "reload"]


def test_guarded_caches_and_fails_closed() -> None:
    asked: list[ConnectionRequest] = []

    def decide(request: ConnectionRequest) -> Decision:
        asked.append(request)
        if request.port == 1:
            raise ValueError
        return granted(cache_seconds=60)

    policy = guarded(FunctionPolicy(decide))
    assert policy.connect(CONNECTION).allowed
    assert policy.connect(CONNECTION).allowed
    assert len(asked) == 1
    assert policy.connect(ConnectionRequest(port=1)).error


class TestLoading:
    @pytest.fixture(autouse=True)
    def _module(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "my_policy_module.py").write_text(
            "from hubble.policy import GrantAll\n"
            "class Mine(GrantAll): pass\n"
            "class Picky(GrantAll):\n"
            "    def __init__(self, needed): pass\n"
            "class Other: pass\n"
        )
        (tmp_path / "my_broken_module.py").write_text("1 / 0\n")
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "path", list(sys.path))

    def test_a_class_in_the_working_directory(self) -> None:
        policy = load_python_authorizer("my_policy_module:Mine")
        assert type(policy).__name__ == "Mine"
        assert Cached(policy).connect(CONNECTION).allowed

    @pytest.mark.parametrize(
        ("reference", "wrong"),
        [
            ("", "write package.module:Class"),
            ("my_policy_module", "write package.module:Class"),
            (":Mine", "write package.module:Class"),
            ("my_policy_module:", "write package.module:Class"),
            ("my_policy_module:Absent", "is not a subclass of hubble.policy.Authorizer"),
            ("my_policy_module:Other", "is not a subclass of hubble.policy.Authorizer"),
            ("my_policy_module:Picky", "TypeError: .*needed"),
            ("my_policy_module:GrantAll.connect", "is not a subclass"),
            ("no_such_module_at_all:Mine", "ModuleNotFoundError: No module named 'no_such_module_at_all'"),
            ("my_broken_module:Mine", "ZeroDivisionError"),
        ],
    )
    def test_what_cannot_be_loaded(self, reference: str, wrong: str) -> None:
        with pytest.raises(UsageError, match=wrong) as caught:
            load_python_authorizer(reference)
        assert "\n" not in str(caught.value)
