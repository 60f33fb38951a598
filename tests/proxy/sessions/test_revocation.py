"""What is live is asked about again."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from hubble.policy import Decision, FunctionPolicy, RegistrationRequest, busy, denied, granted
from hubble.proxy.sessions import revocation
from hubble.proxy.sessions.revocation import ATTEMPTS, Revocation


class Link:
    closed = False

    def close(self, code: int, why: str) -> None:
        self.closed = True


@pytest.mark.parametrize(
    ("answers", "revoked"),
    [
        ([granted()], 0),
        ([denied()], 1),
        ([busy("x"), busy("x"), granted()], 0),
        ([busy("x"), busy("x"), denied()], 1),
        ([busy("x")] * ATTEMPTS + [granted()], 1),
    ],
)
def test_a_policy_that_is_busy_is_asked_again_and_not_for_good(
    answers: list[Decision], revoked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revocation, "PAUSE", 0.0)
    link, left = Link(), list(answers)
    gateway: Any = SimpleNamespace(name="x", request=RegistrationRequest("x"), link=link)
    policy = FunctionPolicy(lambda request: True, lambda request: left.pop(0))
    routes: Any = SimpleNamespace(all=list)
    gateways: Any = [gateway]
    result = Revocation(gateways, routes, policy, lambda *_: None).ask_again()
    assert (result.gateways, link.closed) == (revoked, bool(revoked))
