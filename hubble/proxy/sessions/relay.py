"""Passes messages on between the two links of a session's route, and tells both sides when one is gone.

Of a message only its kind and its session are looked at; the same bytes go out. The queue towards a slow receiver
stays short, since the credit that it grants is kept back while its lane is full.
"""

from __future__ import annotations

import logging
import time
from typing import cast

import gevent
from gevent.event import Event

from hubble.base.errors import ProtocolError
from hubble.base.recent import RecentSet
from hubble.protocol import binary
from hubble.protocol.binary import FROM_EXIT
from hubble.protocol.codec import InvalidInitiator, decode, encode, session_text
from hubble.protocol.legacy import limits
from hubble.protocol.messages import (
    Ack,
    ConnectionClosed,
    Data,
    Eof,
    Initiator,
    Reset,
    ResetReason,
    Suspend,
    Terminator,
)
from hubble.proxy.gateways.gateway import Gateway
from hubble.proxy.sessions.opening import Opening, ended, gone
from hubble.proxy.sessions.routes import Route, Routes
from hubble.proxy.watch.audit import Audit
from hubble.transport.peer import Peer

log = logging.getLogger(__name__)

LEGACY_BACKLOG = limits.BACKLOG
"""Bytes of a session of protocol 0.1, which has no credit, that may be queued towards its receiver."""
STALL_TIMEOUT = limits.STALL_TIMEOUT
"""Seconds that the sender's link then waits before the session is ended."""
STREAM_HEADER = binary.STREAM_HEADER.size


class Relay:
    """Serves one peer: its messages are passed on until its link ends."""

    def __init__(self, peer: Peer, routes: Routes, opening: Opening, audit: Audit) -> None:
        self._peer = peer
        self._routes = routes
        self._table = routes.of(peer)
        self._opening = opening
        self._audit = audit
        self._answered = RecentSet(1024)
        peer.link.on_drained = self._lane_drained

    def serve(self, data: bytes) -> None:
        """Deal with one message that the peer sent. Raises ProtocolError for one that cannot be meant."""
        if data and data[0] in binary.BINARY_TYPES:
            if len(data) < binary.SESSION_END:
                raise ProtocolError("a message that ends within its session's id")
            self._pass_on(data)
            return
        try:
            message = decode(data)
        except InvalidInitiator as error:
            self._opening.refuse_invalid(self._peer, error)
            return
        match message:
            case Initiator():
                self._answered.discard((message.session, False))
                if isinstance(self._peer, Gateway):
                    gevent.spawn(self._opening.initiate, self._peer, message)
                else:
                    gevent.spawn(self._opening.pass_in, self._peer, message)
            case Ack():
                self._answered.discard((message.session, True))
                self._opening.acknowledge(self._peer, message)
            case Data():
                self._pass_on_data(message, data)
            case ConnectionClosed():
                self._close(message.session)
            case Terminator():
                if self._peer.is_worker:  # agents do not say it; from one it means nothing
                    self._close(message.session)
            case _:
                raise ProtocolError(f"an agent does not say {type(message).__name__} here")

    def lost(self) -> None:
        """The peer's link is gone: tell the other side of each of its routes."""
        self._opening.exit_lost(self._peer)
        for room in self._table.room.values():  # who waits need not wait any more
            room.set()
        for route in list(self._table.routes.values()):
            self._routes.remove(route)
            self._audit.path_lost(route, self._peer.link.why or f"the link of {self._peer.name} was lost")
            of_exit = route.exit is self._peer
            other = route.peer(not of_exit)
            if other is not self._peer:
                other.link.send(encode(gone(route, of_exit=of_exit)), route.session)

    # Sessions that can be resumed.

    def _pass_on(self, data: bytes) -> None:
        kind, session = data[0], data[1 : binary.SESSION_END]
        from_exit = bool(kind & FROM_EXIT)
        route = self._routes.get(session)
        if route is None or route.peer(from_exit) is not self._peer or not route.resumable:
            self._without_route(kind, session, from_exit, data)
            return
        target = route.peer(not from_exit).link
        kind &= ~FROM_EXIT
        if kind == binary.STREAM:
            route.passed[from_exit] += len(data) - STREAM_HEADER
            route.messages[from_exit] += 1
            target.send(data, session)
            return
        if kind == binary.CREDIT:
            if self._peer.link.is_full(session):
                route.held_credit[from_exit] = data
                route.held_since.setdefault(from_exit, time.monotonic())
            else:
                target.send(data)
            return
        self._heed(kind, route, from_exit, data)
        target.send(data, session)

    def _heed(self, kind: int, route: Route, from_exit: bool, data: bytes) -> None:
        """A message that changes what becomes of the session passes."""
        if kind == binary.RESET:
            route.peer(not from_exit).link.discard(route.session)
            self._routes.remove(route)
            reset = cast(Reset, decode(data))
            self._audit.reset(route, reset.reason, reset.text)
        elif kind == binary.SUSPEND:
            self._routes.remove(route)
            self._audit.path_lost(route, f"the path behind {route.destination if from_exit else route.source} is lost")
        elif kind == binary.EOF:
            self._audit.stream_ends(route, from_exit, cast(Eof, decode(data)).offset)
        elif kind == binary.DONE:
            route.done.add(from_exit)
            if len(route.done) == 2:
                self._routes.remove(route)
                self._audit.closed(route)

    def _without_route(self, kind: int, session: bytes, from_exit: bool, data: bytes) -> None:
        """The session is not open here: its sender must resume it, if it still wants it."""
        if kind & ~FROM_EXIT == binary.RESET:
            proposal = self._routes.proposed_by(self._peer, session)
            if proposal is not None and not from_exit:
                self._routes.withdraw(proposal)
                proposal.exit.link.send(data, session)
        elif from_exit and self._routes.is_proposed_to(self._peer, session):
            pass  # it will send this again when it has accepted; a Suspend would undo what it is about to set up
        elif kind & ~FROM_EXIT in (binary.STREAM, binary.EOF) and self._answered.add((session, from_exit)):
            log.debug("a message of session %s, which is not open here", session_text(session))
            self._peer.link.send(encode(Suspend(session, not from_exit)), session)

    def _lane_drained(self, lane: object) -> None:
        assert isinstance(lane, bytes)
        room = self._table.room.get(lane)
        if room is not None:
            room.set()
        route = self._routes.get(lane)
        if route is None:
            return
        for from_exit in (False, True):
            if route.peer(from_exit) is self._peer and from_exit in route.held_credit:
                route.peer(not from_exit).link.send(route.held_credit.pop(from_exit))
                route.stalled += time.monotonic() - route.held_since.pop(from_exit)

    # Sessions of protocol 0.1.

    def _pass_on_data(self, message: Data, data: bytes) -> None:
        route = self._routes.get(message.session)
        if route is None or self._peer not in (route.entry, route.exit):
            if self._answered.add(message.session):
                log.debug("Data of session %s, which is not open here", session_text(message.session))
                self._peer.link.send(encode(Terminator(message.session)), message.session)
            return
        from_exit = route.exit is self._peer
        route.passed[from_exit] += len(message.data)
        route.messages[from_exit] += 1
        target = route.peer(not from_exit)
        target.link.send(data, message.session)
        if target.link.queued(message.session) > LEGACY_BACKLOG:
            self._wait_for_room(route, target)

    def _wait_for_room(self, route: Route, target: Peer) -> None:
        """Protocol 0.1 has no credit: its sender's link waits while the receiver does not read, for a while."""
        waiting = self._routes.of(target).room
        room = waiting[route.session] = Event()
        try:
            if target.link.is_full(route.session) and not target.link.closed and not room.wait(STALL_TIMEOUT):
                log.warning("session %s: ended: its receiver has stalled", session_text(route.session))
                self.end(route, ResetReason.STALLED, "the receiver has read nothing for long")
        finally:
            del waiting[route.session]

    def _close(self, session: bytes) -> None:
        route = self._routes.get(session)
        if route is None or self._peer not in (route.entry, route.exit) or route.resumable:
            return
        self._routes.remove(route)
        self._audit.closed(route)
        terminator = encode(Terminator(session))
        route.entry.link.send(terminator, session)
        route.exit.link.send(terminator, session)

    # Either kind.

    def end(self, route: Route, reason: ResetReason, text: str) -> None:
        """End a session on both sides by a reset."""
        end(self._routes, self._audit, route, reason, text)


def end(routes: Routes, audit: Audit, route: Route, reason: ResetReason, text: str) -> None:
    """End a session on both sides by a reset."""
    routes.remove(route)
    audit.reset(route, reason, text)
    for of_exit in (False, True):
        link = route.peer(not of_exit).link
        link.discard(route.session)
        link.send(encode(ended(route, of_exit=of_exit, reason=reason, text=text)), route.session)
