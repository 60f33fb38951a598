"""Ends what an operator kicks: a session, a gateway's link, or all sessions of a gateway that is blocked."""

from __future__ import annotations

from collections import OrderedDict

from hubble.protocol.messages import ResetReason
from hubble.proxy.gateways.blocks import Blocks
from hubble.proxy.gateways.registry import Gateways
from hubble.proxy.sessions.ending import end
from hubble.proxy.sessions.registry import SessionRegistry
from hubble.proxy.sessions.routes import Routes

KICKED = 10_000
"""Kicked sessions that a worker remembers; it forgets the oldest first, whose agents have given up by then."""


class Kicks:
    """Ends sessions and links at this worker. Kicked sessions must not resume: test with `session in kicks`."""

    def __init__(self, gateways: Gateways, sessions: SessionRegistry, routes: Routes, blocks: Blocks) -> None:
        self._gateways = gateways
        self._sessions = sessions
        self._routes = routes
        self._blocks = blocks
        self._kicked: OrderedDict[bytes, None] = OrderedDict()

    def __contains__(self, session: bytes) -> bool:
        return session in self._kicked

    def session(self, session: bytes) -> bool:
        """Reset a session on both sides and prevent its resumption; return whether its entry is at this worker."""
        self._kicked[session] = None
        if len(self._kicked) > KICKED:
            self._kicked.popitem(last=False)
        record = self._sessions.get(session)
        if record is None:
            return False
        if record.suspended is not None:
            self._sessions.close(record, "revoked", "ended by the operator")
        elif record.route is not None:
            end(self._routes, self._sessions, record.route, ResetReason.REVOKED, "ended by the operator")
        return True

    def gateway(self, name: str) -> bool:
        """Close a gateway's link; return whether it was at this worker. The agent may reconnect and resume sessions."""
        gateway = self._gateways.get(name)
        if gateway is not None:
            gateway.link.close(1008, "kicked by the operator")
        return gateway is not None

    def block(self, name: str, blocked: bool) -> bool:
        """Block a gateway and end its sessions, or unblock it (`blocked` is false).

        Return whether its link was at this worker and has been closed.
        """
        self._blocks.set(name, blocked)
        if not blocked:
            return False
        for record in self._sessions.all():
            if name in (record.facts.source, record.facts.gateway):
                self.session(record.session)
        return self.gateway(name)
