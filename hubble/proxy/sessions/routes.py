"""The routes: the two peers between which each session's messages travel.

A route is proposed when an Initiator is forwarded to the exit, and laid when the exit's Ack accepts it. Until then an
older route of the session stays in use. Each peer has a table of the routes over its link.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from gevent.event import Event

from hubble.policy import ConnectionRequest
from hubble.protocol.direction import TO_ENTRY, TO_EXIT, Direction
from hubble.protocol.messages import Initiator
from hubble.transport.peer import Peer

if TYPE_CHECKING:
    from hubble.proxy.sessions.record import Record


MOST_IN_FLIGHT = 16 * 1024 * 1024
"""Bytes of one direction of a session that may be in flight, even if the receiver grants more."""
ANSWER_TIMEOUT = 60.0
"""Seconds after which an unanswered Initiator is forgotten; its entry waits for half as long."""


@dataclass(slots=True)
class Unanswered:
    """The number and the total size (bytes) of one peer's Initiators that are not answered yet."""

    count: int = 0
    size: int = 0

    def add(self, size: int) -> None:
        """Count one more Initiator."""
        self.count += 1
        self.size += size

    def remove(self, size: int) -> None:
        """Count one Initiator less."""
        self.count -= 1
        self.size -= size


@dataclass(slots=True)
class RouteTable:
    """The sessions over the link of one peer."""

    routes: dict[bytes, Route] = field(default_factory=dict)
    proposals: dict[bytes, dict[int, Route]] = field(default_factory=dict)
    """The proposed routes by session and path; the peer is the entry or the exit of each."""
    asking: set[bytes] = field(default_factory=set)
    """The sessions that wait for the policy's decision, or for their gateway."""
    unanswered: Unanswered = field(default_factory=Unanswered)
    """The peer's own Initiators that wait for the policy or for an exit."""
    room: dict[bytes, Event] = field(default_factory=dict)
    """By session of protocol 0.1 whose sender waits: the event to set when its lane here has room again."""

    @property
    def is_idle(self) -> bool:
        """Return whether no session runs over the link or is about to."""
        return not (self.routes or self.proposals or self.asking)

    def has_other_sessions(self, session: bytes, number: int) -> bool:
        """Return whether at least `number` other sessions are open, proposed, or wait for a decision."""
        if len(self.routes) + len(self.proposals) + len(self.asking) < number:
            return False
        opening = (self.proposals.keys() | self.asking) - self.routes.keys()
        is_known = session in self.routes or session in opening
        return len(self.routes) + len(opening) - is_known >= number

    def begin_to_ask(self, session: bytes, size: int) -> None:
        """Count an Initiator of `size` bytes that waits for the policy or for its gateway."""
        self.asking.add(session)
        self.unanswered.add(size)

    def end_to_ask(self, session: bytes, size: int) -> None:
        """Stop counting an Initiator that was refused or forwarded to its exit."""
        self.asking.discard(session)
        self.unanswered.remove(size)

    def proposed(self) -> Iterator[Route]:
        """Return a snapshot of the proposed routes."""
        return iter([route for of_session in self.proposals.values() for route in of_session.values()])


@dataclass(eq=False, slots=True)
class Half:
    """One direction of a route, from the sender to the receiver."""

    sender: Peer
    receiver: Peer
    passed: int = 0
    """Bytes of the stream that passed this way."""
    messages: int = 0
    """Messages that carried these bytes."""
    limit: int = 0
    """The offset before which the sender may send, by the credit forwarded to it."""
    held_credit: bytes | None = None
    """The latest CREDIT message from the sender, held back while the queue towards the sender is long."""
    held_since: float = 0.0
    is_done: bool = False
    """Whether the sender has sent Done."""

    def grant(self, received: int, limit: int) -> int:
        """Let the sender send up to the receiver's `limit`; return the limit to forward, which may be lower.

        received: bytes that the receiver has. At most MOST_IN_FLIGHT bytes beyond them may be in flight.
        """
        limit = min(limit, received + MOST_IN_FLIGHT)
        self.limit = max(self.limit, limit)
        return limit


@dataclass(eq=False)
class Route:
    """The route of one session, from the gateway `source` to the gateway `gateway`.

    `resumable`: both ends have agreed on the protocol extension.
    """

    session: bytes
    entry: Peer
    exit: Peer
    source: str
    gateway: str
    path: int = 0
    """The path number in the Initiator forwarded to the exit; the exit's Ack repeats it."""
    entry_path: int = 0
    """The path number that the entry's worker chose, if that is another worker."""
    size: int = 0
    """Bytes that its Initiator occupies while unanswered."""
    initiator: Initiator | None = field(default=None, repr=False)
    """The entry's Initiator, to send again if the worker it was forwarded to no longer has the exit."""
    proposed_at: float = 0.0
    """The time of the proposal, by the monotonic clock."""
    resumable: bool = False
    stalled: float = 0.0
    """Seconds for which credit was held back."""
    request: ConnectionRequest | None = field(default=None, repr=False)
    """The request to the policy, kept to ask again; None if another worker has asked the policy."""
    record: Record | None = None
    """The session's record, if its entry is at this worker."""
    halves: tuple[Half, Half] = field(init=False, repr=False)
    """Indexed by Direction."""

    def __post_init__(self) -> None:
        self.halves = Half(self.entry, self.exit), Half(self.exit, self.entry)

    def direction_from(self, peer: Peer) -> Direction:
        """Return the direction of the messages from `peer`; a peer that is both ends counts as the exit."""
        return TO_ENTRY if self.exit is peer else TO_EXIT

    def has_same_agents(self, other: Route) -> bool:
        """Return whether both routes connect the same two gateways."""
        return (self.source, self.gateway) == (other.source, other.gateway)


class Routes:
    """All routes of a worker, by session and by peer."""

    def __init__(self) -> None:
        self._laid: dict[bytes, Route] = {}
        self._tables: WeakKeyDictionary[Peer, RouteTable] = WeakKeyDictionary()

    def __len__(self) -> int:
        return len(self._laid)

    def all(self) -> list[Route]:
        """Return a snapshot of the laid routes."""
        return list(self._laid.values())

    def of(self, peer: Peer) -> RouteTable:
        """Return the table of the peer's link."""
        table = self._tables.get(peer)
        if table is None:
            table = self._tables[peer] = RouteTable()
        return table

    def get(self, session: bytes) -> Route | None:
        """Return the session's laid route, or None."""
        return self._laid.get(session)

    def propose(self, route: Route) -> None:
        """Remember a route until the exit has answered, or for ANSWER_TIMEOUT."""
        route.proposed_at = time.monotonic()
        self._forget_unanswered(route.entry, route.proposed_at - ANSWER_TIMEOUT)
        replaced = self.of(route.entry).proposals.get(route.session, {}).get(route.path)
        if replaced is not None:  # protocol 0.1 repeats its Initiator without a path number
            self.withdraw(replaced)
        self.of(route.entry).unanswered.add(route.size)
        for peer in {route.entry, route.exit}:
            self.of(peer).proposals.setdefault(route.session, {})[route.path] = route

    def answered(self, exit_peer: Peer, session: bytes, path: int) -> Route | None:
        """Withdraw and return the proposal that an Ack from `exit_peer` answers, or None if there is none."""
        route = self.of(exit_peer).proposals.get(session, {}).get(path)
        if route is None or route.exit is not exit_peer:
            return None
        self.withdraw(route)
        return route

    def withdraw(self, route: Route) -> None:
        """Forget a proposal."""
        for peer in {route.entry, route.exit}:
            proposals = self.of(peer).proposals
            of_session = proposals.get(route.session, {})
            if of_session.get(route.path) is not route:
                continue
            del of_session[route.path]
            if not of_session:
                del proposals[route.session]
            if peer is route.entry:
                self.of(peer).unanswered.remove(route.size)

    def _forget_unanswered(self, entry: Peer, horizon: float) -> None:
        """Withdraw the proposals made before `horizon`; the oldest are first."""
        proposals = self.of(entry).proposals
        while proposals:
            oldest = next(iter(proposals.values()))
            route = next(iter(oldest.values()))
            if route.proposed_at > horizon:
                return
            self.withdraw(route)

    def proposed_by(self, entry: Peer, session: bytes) -> Route | None:
        """Return the latest proposal for a session requested by `entry`, or None."""
        proposals = self.of(entry).proposals.get(session, {}).values()
        return next((route for route in reversed(proposals) if route.entry is entry), None)

    def is_proposed_to(self, exit_peer: Peer, session: bytes) -> bool:
        """Return whether `exit_peer` has received an Initiator of the session and has not answered yet."""
        proposals = self.of(exit_peer).proposals.get(session, {}).values()
        return any(route.exit is exit_peer for route in proposals)

    def lay(self, route: Route) -> None:
        """Make an accepted route the session's only route."""
        self.remove(self._laid.get(route.session))
        self._laid[route.session] = route
        self.of(route.entry).routes[route.session] = route
        self.of(route.exit).routes[route.session] = route

    def remove(self, route: Route | None) -> None:
        """Remove a route whose session has ended or whose path is lost."""
        if route is not None and self._laid.get(route.session) is route:
            del self._laid[route.session]
            self.of(route.entry).routes.pop(route.session, None)
            self.of(route.exit).routes.pop(route.session, None)

    def would_steal(self, route: Route) -> bool:
        """Return whether laying `route` would take a session away from the agents that own it."""
        laid = self._laid.get(route.session)
        if laid is not None and not (laid.resumable and laid.has_same_agents(route)):
            return True
        # Without a path number (protocol 0.1), two proposals for one session cannot be told apart.
        for peer in (route.exit, route.entry):
            proposed = self.of(peer).proposals.get(route.session, {}).get(route.path)
            if proposed is not None:
                return not proposed.has_same_agents(route)
        return False
