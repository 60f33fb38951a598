"""Relays messages between the two links of a session's route, and notifies one side when the other is lost.

The relay reads only the kind and the session of a message, and forwards the same bytes. The queue towards a slow
receiver stays short, because the relay holds its credit back while its lane is full.
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
from hubble.protocol.direction import TO_ENTRY, TO_EXIT, Direction
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
from hubble.proxy.sessions.ending import end, lost_message
from hubble.proxy.sessions.excess import Excess
from hubble.proxy.sessions.opener import Opener, answer
from hubble.proxy.sessions.registry import SessionRegistry
from hubble.proxy.sessions.routes import Half, Route, Routes
from hubble.transport.peer import Peer

log = logging.getLogger(__name__)

LEGACY_BACKLOG = limits.BACKLOG
"""Bytes of a protocol 0.1 session, which has no credit, that may be queued towards its receiver."""
STALL_TIMEOUT = limits.STALL_TIMEOUT
"""Seconds that the sender's link then waits before the session ends."""
DIRECTIONS = tuple(Direction)
STREAM_HEADER = binary.STREAM_HEADER.size


class Relay:
    """Serves one peer: relays its messages until its link ends."""

    def __init__(self, peer: Peer, routes: Routes, opener: Opener, sessions: SessionRegistry) -> None:
        self._peer = peer
        self._routes = routes
        self._table = routes.of(peer)
        self._opener = opener
        self._sessions = sessions
        self._answered = RecentSet(1024)
        self._excess = Excess(peer, opener.most_refusals)
        peer.link.on_drained = self._lane_drained

    def serve(self, data: bytes) -> None:
        """Handle one message from the peer. Raises ProtocolError for an invalid message."""
        if data and data[0] in binary.BINARY_TYPES:
            if len(data) < binary.SESSION_END:
                raise ProtocolError("a message ends within its session's id")
            self._pass_on(data)
            return
        try:
            message = decode(data)
        except InvalidInitiator as error:
            self._opener.refuse_invalid(self._peer, error, self._excess)
            return
        match message:
            case Initiator():
                self._answered.discard((message.session, TO_EXIT))
                if isinstance(self._peer, Gateway):
                    self._opener.ask(self._peer, message, self._excess)
                else:
                    gevent.spawn(self._opener.open_from_worker, self._peer, message)
            case Ack():
                self._answered.discard((message.session, TO_ENTRY))
                self._opener.acknowledge(self._peer, message)
            case Data():
                self._pass_on_data(message, data)
            case ConnectionClosed():
                self._close(message.session)
            case Terminator():
                if self._peer.is_worker:  # agents do not send it; ignore one that does
                    self._close(message.session)
            case _:
                raise ProtocolError(f"unexpected {type(message).__name__} from an agent")

    def lost(self) -> None:
        """Notify the other side of each route of a peer whose link is lost."""
        self._opener.exit_lost(self._peer)
        for room in self._table.room.values():  # the sender's relay need not wait for this peer any more
            room.set()
        for route in list(self._table.routes.values()):
            self._routes.remove(route)
            self._sessions.path_lost(route, self._peer.link.why or f"the link of {self._peer.name} was lost")
            direction = route.direction_from(self._peer)
            other = route.halves[direction].receiver
            if other is not self._peer:
                other.link.send(encode(lost_message(route, direction)), route.session)

    # Resumable sessions.

    def _pass_on(self, data: bytes) -> None:
        kind, session = data[0], data[1 : binary.SESSION_END]
        route = self._routes.get(session)
        if route is None or (half := route.halves[kind & FROM_EXIT]).sender is not self._peer or not route.resumable:
            self._without_route(kind, session, data)
            return
        kind &= ~FROM_EXIT
        if kind == binary.STREAM:
            size = len(data) - STREAM_HEADER
            if size + int.from_bytes(data[binary.SESSION_END : STREAM_HEADER], "big") > half.limit or size <= 0:
                self.end(route, ResetReason.PROTOCOL_ERROR, "a STREAM message is empty or exceeds the credit")
                return
            half.passed += size
            half.messages += 1
        elif kind == binary.CREDIT:
            if len(data) != binary.CREDIT_SIZE:
                raise ProtocolError(f"a CREDIT message has {len(data)} bytes instead of {binary.CREDIT_SIZE}")
            if self._peer.link.is_full(session):
                if half.held_credit is None:
                    half.held_since = time.monotonic()
                half.held_credit = data
            else:
                self._pass_on_credit(route, half, data)
            return
        else:
            self._follow(kind, route, DIRECTIONS[half is route.halves[1]], data)
        if not half.receiver.link.send(data, session):
            self.end(route, ResetReason.LIMIT, "too many bytes are queued for the receiver")

    def _pass_on_credit(self, route: Route, half: Half, data: bytes) -> None:
        """Forward the credit that `half`'s sender grants, reduced to the most that may be in flight."""
        received, limit = binary.read_credit(data)
        granted = route.halves[half is route.halves[0]].grant(received, limit)
        if granted < limit:
            data = binary.with_limit(data, granted)
        half.receiver.link.send_latest(data, data[: binary.SESSION_END])

    def _follow(self, kind: int, route: Route, direction: Direction, data: bytes) -> None:
        """Update the session's state for a RESET, SUSPEND, EOF or DONE that passes."""
        if kind == binary.RESET:
            route.halves[direction].receiver.link.discard(route.session)
            self._routes.remove(route)
            reset = cast(Reset, decode(data))
            self._sessions.reset(route, reset.reason, reset.text)
        elif kind == binary.SUSPEND:
            self._routes.remove(route)
            lost = route.gateway if direction is TO_ENTRY else route.source
            self._sessions.path_lost(route, f"the path behind {lost} is lost")
        elif kind == binary.EOF:
            self._sessions.stream_ends(route, direction, cast(Eof, decode(data)).offset)
        elif kind == binary.DONE:
            route.halves[direction].is_done = True
            if all(half.is_done for half in route.halves):
                self._routes.remove(route)
                self._sessions.closed(route)

    def _without_route(self, kind: int, session: bytes, data: bytes) -> None:
        """Handle a message of a session without a route: a sender that still needs the session must resume it."""
        direction = DIRECTIONS[kind & FROM_EXIT]
        if kind & ~FROM_EXIT == binary.RESET:
            proposal = self._routes.proposed_by(self._peer, session)
            if proposal is not None and direction is TO_EXIT:
                self._routes.withdraw(proposal)
                proposal.exit.link.send(data, session)
        elif direction is TO_ENTRY and self._routes.is_proposed_to(self._peer, session):
            pass  # the exit repeats this after its Ack; a Suspend would undo the path that it is about to set up
        elif kind & ~FROM_EXIT in (binary.STREAM, binary.EOF) and self._answered.add((session, direction)):
            log.debug("session %s: ignored a message: the session is not open here", session_text(session))
            answer(self._peer.link, Suspend(session, direction is TO_EXIT), session)

    def _lane_drained(self, lane: object) -> None:
        assert isinstance(lane, bytes)
        room = self._table.room.get(lane)
        if room is not None:
            room.set()
        route = self._routes.get(lane)
        if route is None:
            return
        for half in route.halves:
            if half.sender is self._peer and half.held_credit is not None:
                self._pass_on_credit(route, half, half.held_credit)
                half.held_credit = None
                route.stalled += time.monotonic() - half.held_since

    # Sessions of protocol 0.1.

    def _pass_on_data(self, message: Data, data: bytes) -> None:
        route = self._routes.get(message.session)
        if route is None or self._peer not in (route.entry, route.exit):
            if self._answered.add(message.session):
                log.debug("session %s: ignored Data: the session is not open here", session_text(message.session))
                answer(self._peer.link, Terminator(message.session), message.session)
            return
        half = route.halves[TO_ENTRY if route.exit is self._peer else TO_EXIT]
        half.passed += len(message.data)
        half.messages += 1
        target = half.receiver
        target.link.send(data, message.session)
        if target.link.queued(message.session) > LEGACY_BACKLOG and not self._peer.link.closed:
            self._peer.link.pause()
            gevent.spawn(self._wait_for_room, route, target)

    def _wait_for_room(self, route: Route, target: Peer) -> None:
        """Stop reading the sender's link until the receiver has room, at most STALL_TIMEOUT: 0.1 has no credit."""
        waiting = self._routes.of(target).room
        room = waiting[route.session] = Event()
        try:
            if target.link.is_full(route.session) and not target.link.closed and not room.wait(STALL_TIMEOUT):
                log.warning("session %s ended: the receiver has stalled", session_text(route.session))
                self.end(route, ResetReason.STALLED, f"the receiver has read nothing for {STALL_TIMEOUT:g} s")
        finally:
            del waiting[route.session]
            self._peer.link.resume()

    def _close(self, session: bytes) -> None:
        route = self._routes.get(session)
        if route is None or self._peer not in (route.entry, route.exit) or route.resumable:
            return
        self._routes.remove(route)
        self._sessions.closed(route)
        terminator = encode(Terminator(session))
        route.entry.link.send(terminator, session)
        route.exit.link.send(terminator, session)

    # Both protocols.

    def end(self, route: Route, reason: ResetReason, text: str) -> None:
        """Reset a session on both sides."""
        end(self._routes, self._sessions, route, reason, text)
