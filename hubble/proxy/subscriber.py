"""The interface through which a proxy reports its events. A subscriber only observes; it never changes a decision."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hubble.policy import ConnectionRequest, Decision
    from hubble.protocol.messages import Ack
    from hubble.proxy.gateways.gateway import Gateway
    from hubble.proxy.gateways.registry import Gateways
    from hubble.proxy.sessions.record import Record
    from hubble.proxy.sessions.registry import SessionRegistry
    from hubble.proxy.sessions.routes import Route, Routes

log = logging.getLogger(__name__)


class Subscriber:
    """Ignores all events. Subclasses override the methods they need; a method must not block."""

    # The proxy.

    def started(self, gateways: Gateways, sessions: SessionRegistry, routes: Routes) -> None:
        """Handle the start of the proxy."""

    def reload(self) -> None:
        """Reopen files."""

    def stopping(self) -> None:
        """Handle the beginning of the shutdown; events of gateways and sessions still follow."""

    def stopped(self) -> None:
        """Handle the end of the shutdown."""

    # Gateways.

    def registered(self, gateway: Gateway) -> None:
        """Handle the registration of an agent."""

    def registration_refused(self, gateway: Gateway, refusal: Ack) -> None:
        """Handle a refused registration."""

    def unregistered(self, gateway: Gateway, why: str) -> None:
        """Handle the loss of a gateway's link, or of its name to another link."""

    # Policy.

    def decided(self, request: ConnectionRequest, decision: Decision, seconds: float) -> None:
        """Handle the policy's decision about a session, made in `seconds`."""

    def policy_failed(self, session: str, gateway: str, detail: str) -> None:
        """Handle a failure of the policy: about a session or, if `session` is "", the registration of `gateway`."""

    # Sessions. The worker of a session's entry reports its events.

    def refused(self, record: Record, result: str, text: str) -> None:
        """Handle a session that was not opened; `result` is the name of the refusal."""

    def opened(self, record: Record) -> None:
        """Handle a session that is open."""

    def suspended(self, record: Record, why: str) -> None:
        """Handle a session whose path is lost."""

    def path_found(self, record: Record) -> None:
        """Handle a suspended session that has a path again; `resumed` follows when its record is complete."""

    def resumed(self, record: Record, since: float | None) -> None:
        """Handle a resumed session, suspended `since` (seconds since 1970), or None if that is unknown."""

    def closed(self, record: Record, reason: str, detail: str) -> None:
        """Handle a session that has ended; `reason` is "closed", or the name of the reason for its reset."""

    def accounted(self, record: Record, reason: str, detail: str) -> None:
        """Handle a session that has ended and whose record is complete."""

    def detached(self, route: Route) -> None:
        """Handle a route that no longer belongs to its session: its counts are final."""


class Guarded(Subscriber):
    """Forwards all events to another subscriber, and logs its exceptions instead of raising them."""

    def __init__(self, subscriber: Subscriber) -> None:
        for name in vars(Subscriber):
            if not name.startswith("_"):
                setattr(self, name, partial(_call, getattr(subscriber, name)))


def _call(method: Callable[..., None], *arguments: object) -> None:
    try:
        method(*arguments)
    except Exception:  # a failure of the subscriber must not end a session
        log.exception("subscriber method %s failed", getattr(method, "__qualname__", method))
