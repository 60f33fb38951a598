"""What a proxy tells whoever watches it. Nothing here decides anything: a proxy runs the same without a subscriber."""

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
    """Ignores everything. Subclasses override what they want to know; none of it may wait."""

    # The proxy.

    def started(self, gateways: Gateways, sessions: SessionRegistry, routes: Routes) -> None:
        """The proxy serves."""

    def reload(self) -> None:
        """Files are to be opened again."""

    def stopping(self) -> None:
        """The proxy is about to stop; its gateways and sessions are still told of."""

    def stopped(self) -> None:
        """The proxy has stopped."""

    # Gateways.

    def registered(self, gateway: Gateway) -> None:
        """An agent has its name."""

    def registration_refused(self, gateway: Gateway, refusal: Ack) -> None:
        """An agent was refused."""

    def unregistered(self, gateway: Gateway, why: str) -> None:
        """A gateway's link is gone, or its name belongs to another link now."""

    # Policy.

    def decided(self, request: ConnectionRequest, decision: Decision, seconds: float) -> None:
        """The policy has answered about a session."""

    def policy_failed(self, session: str, gateway: str, detail: str) -> None:
        """The policy has failed, on a session or, if `session` is "", on the registration of `gateway`."""

    # Sessions. Each is told of by the worker of its entry.

    def refused(self, record: Record, result: str, text: str) -> None:
        """A session was not opened; `result` is the refusal's name."""

    def opened(self, record: Record) -> None:
        """A session is open."""

    def suspended(self, record: Record, why: str) -> None:
        """A session's path is lost."""

    def path_found(self, record: Record) -> None:
        """A suspended session has a path again; `resumed` follows when its account is complete."""

    def resumed(self, record: Record, since: float | None) -> None:
        """A session goes on; it was suspended `since` (seconds since 1970), None if that is not known."""

    def closed(self, record: Record, reason: str, detail: str) -> None:
        """A session is over; `reason` is "closed", or a name of why it was reset."""

    def accounted(self, record: Record, reason: str, detail: str) -> None:
        """The same, once its account is complete."""

    def detached(self, route: Route) -> None:
        """A route's counts do not change any more: it is not its session's way now."""


class Guarded(Subscriber):
    """Tells another subscriber. What that raises is logged, and goes no further."""

    def __init__(self, subscriber: Subscriber) -> None:
        for name in vars(Subscriber):
            if not name.startswith("_"):
                setattr(self, name, partial(_tell, getattr(subscriber, name)))


def _tell(method: Callable[..., None], *what: object) -> None:
    try:
        method(*what)
    except Exception:  # whatever a watcher raises, the session it was told of goes on
        log.exception("a subscriber failed: %s", getattr(method, "__qualname__", method))
