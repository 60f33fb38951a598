"""Reauthorizes live sessions and gateways, and ends at once the ones that the policy now denies.

A revoked session cannot resume, because the policy decides about resumptions too.
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
"""Attempts with a policy that is busy, and the seconds between them. After the last, busy counts as a denial."""

AnyRequest = TypeVar("AnyRequest")
EndRoute = Callable[[Route, ResetReason, str], None]


@dataclass(frozen=True)
class Revoked:
    """The number of gateways and sessions that one round has ended."""

    gateways: int
    sessions: int


class Revocation:
    """Reauthorizes the gateways and sessions of this worker; `end` ends a session on both sides."""

    def __init__(self, gateways: Gateways, routes: Routes, authorizer: Authorizer, end: EndRoute) -> None:
        self._gateways = gateways
        self._routes = routes
        self._authorizer = authorizer
        self._end = end

    def ask_again(self) -> Revoked:
        """Ask the policy about all gateways and sessions. A policy that fails denies, so its sessions end as well."""
        return Revoked(self._gateways_again(), self._sessions_again())

    def _gateways_again(self) -> int:
        revoked = 0
        for gateway in self._gateways:
            if gateway.request is None or _is_allowed(self._authorizer.register, gateway.request):
                continue
            if not gateway.link.closed:
                revoked += 1
                log.warning("gateway %s revoked by the policy", gateway.name, extra={"gateway": gateway.name})
                gateway.link.close(1008, "revoked by the policy")
        return revoked

    def _sessions_again(self) -> int:
        revoked = 0
        for route in self._routes.all():
            if route.request is None or _is_allowed(self._authorizer.connect, route.request):
                continue
            if self._routes.get(route.session) is route:  # the session may have ended while the policy decided
                revoked += 1
                log.warning(
                    "session %s revoked by the policy", route.request.session, extra={"session": route.request.session}
                )
                self._end(route, ResetReason.REVOKED, "revoked by the policy")
        return revoked


def _is_allowed(ask: Callable[[AnyRequest], Decision], request: AnyRequest) -> bool:
    """Return the policy's decision. Retry a busy policy: it must not end live sessions, nor keep them forever."""
    for _ in range(ATTEMPTS):
        decision = ask(request)
        if not decision.busy:
            break
        gevent.sleep(PAUSE)
    return decision.allowed
