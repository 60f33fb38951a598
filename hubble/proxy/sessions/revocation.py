"""Taking it back: live sessions and gateways are asked about again, and those now denied end at once.

A revoked session cannot resume, since the policy is asked about that too.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import gevent

from hubble.policy import Authorizer, Decision
from hubble.protocol.messages import ResetReason
from hubble.proxy.gateways.registry import Gateways
from hubble.proxy.sessions.routes import Route, Routes

log = logging.getLogger(__name__)

ATTEMPTS, PAUSE = 10, 1.0
"""How often a policy that is busy is asked again, after so many seconds. Then it counts as a denial."""

AnyRequest = TypeVar("AnyRequest")
EndRoute = Callable[[Route, ResetReason, str], None]


@dataclass(frozen=True)
class Revoked:
    """How many gateways and sessions a round has ended."""

    gateways: int
    sessions: int


class Revocation:
    """Asks again about what this worker has let in; `end` ends a session on both sides."""

    def __init__(self, gateways: Gateways, routes: Routes, authorizer: Authorizer, end: EndRoute) -> None:
        self._gateways = gateways
        self._routes = routes
        self._authorizer = authorizer
        self._end = end

    def ask_again(self) -> Revoked:
        """One round over all gateways and sessions. A policy that errs denies, so its sessions end as well."""
        return Revoked(self._gateways_again(), self._sessions_again())

    def _gateways_again(self) -> int:
        revoked = 0
        for gateway in self._gateways:
            if gateway.request is None or _is_allowed(self._authorizer.register, gateway.request):
                continue
            if not gateway.link.closed:
                revoked += 1
                log.warning("gateway %s: revoked by the policy", gateway.name, extra={"gateway": gateway.name})
                gateway.link.close(1008, "revoked by the policy")
        return revoked

    def _sessions_again(self) -> int:
        revoked = 0
        for route in self._routes.all():
            if route.request is None or _is_allowed(self._authorizer.connect, route.request):
                continue
            if self._routes.get(route.session) is route:  # it may have ended while the policy was asked
                revoked += 1
                log.warning(
                    "session %s: revoked by the policy", route.request.session, extra={"session": route.request.session}
                )
                self._end(route, ResetReason.REVOKED, "revoked by the policy")
        return revoked


def _is_allowed(ask: Callable[[AnyRequest], Decision], request: AnyRequest) -> bool:
    """The policy's decision. Being busy is none, and must not end what is live; nor may it go on for good."""
    for _ in range(ATTEMPTS):
        decision = ask(request)
        if not decision.busy:
            break
        gevent.sleep(PAUSE)
    return decision.allowed
