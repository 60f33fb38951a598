"""Which two peers a session's messages travel between. No message is looked into but for its kind and its session.

A route is proposed when an Initiator is passed on to the exit, and laid when the exit's Ack has accepted it: until then
an older route of the session stays. Each peer has a table of the routes over its link.
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
"""Bytes of one direction of a session that may be on their way, even if the receiver grants more."""
ANSWER_TIMEOUT = 60.0
"""Seconds after which an Initiator that its exit has not answered is forgotten; its entry waits for half of that."""


@dataclass(slots=True)
class Unanswered:
    """How many Initiators of one peer are not answered yet, and their bytes."""

    count: int = 0
    size: int = 0

    def add(self, size: int) -> None:
        """Count one Initiator more."""
        self.count += 1
        self.size += size

    def remove(self, size: int) -> None:
        """Count one less."""
        self.count -= 1
        self.size -= size


@dataclass(slots=True)
class RouteTable:
    """What runs over the link of one peer."""

    routes: dict[bytes, Route] = field(default_factory=dict)
    proposals: dict[bytes, dict[int, Route]] = field(default_factory=dict)
    """Those of each session by their path; the peer is the entry or the exit of each."""
    asking: set[bytes] = field(default_factory=set)
    """The sessions about which the policy is being asked, or whose gateway is waited for."""
    unanswered: Unanswered = field(default_factory=Unanswered)
    """The peer's own Initiators, whether the policy or an exit is to answer them."""
    room: dict[bytes, Event] = field(default_factory=dict)
    """For a session of protocol 0.1 whose sender waits: set when its lane here has room again."""

    @property
    def is_idle(self) -> bool:
        """Whether no session runs over the link, or is about to."""
        return not (self.routes or self.proposals or self.asking)

    def has_other_sessions(self, session: bytes, number: int) -> bool:
        """Whether `number` sessions besides this one are open, proposed, or asked about."""
        if len(self.routes) + len(self.proposals) + len(self.asking) < number:
            return False
        opening = (self.proposals.keys() | self.asking) - self.routes.keys()
        is_known = session in self.routes or session in opening
        return len(self.routes) + len(opening) - is_known >= number

    def begin_to_ask(self, session: bytes, size: int) -> None:
        """An Initiator of so many bytes has come, and does not go to its exit at once."""
        self.asking.add(session)
        self.unanswered.add(size)

    def end_to_ask(self, session: bytes, size: int) -> None:
        """It was refused, or has gone to its exit."""
        self.asking.discard(session)
        self.unanswered.remove(size)

    def proposed(self) -> Iterator[Route]:
        """The proposals, as of now."""
        return iter([route for of_session in self.proposals.values() for route in of_session.values()])


@dataclass(eq=False, slots=True)
class Half:
    """One direction of a route: what the sender says is passed on to the receiver."""

    sender: Peer
    receiver: Peer
    passed: int = 0
    """Bytes of the stream that came this way."""
    messages: int = 0
    """How many messages carried them."""
    limit: int = 0
    """The offset before which the sender may send, as far as it was told."""
    held_credit: bytes | None = None
    """The latest credit that the sender grants, kept back while the queue towards it is long."""
    held_since: float = 0.0
    is_done: bool = False
    """Whether the sender has said Done."""

    def grant(self, received: int, limit: int) -> int:
        """Let the sender send up to `limit`, as the receiver, which has `received`, says: the limit to tell it."""
        limit = min(limit, received + MOST_IN_FLIGHT)
        self.limit = max(self.limit, limit)
        return limit


@dataclass(eq=False)
class Route:
    """The way of one session, from the gateway `source` to the gateway `gateway`.

    `resumable`: both its ends have agreed on the extension.
    """

    session: bytes
    entry: Peer
    exit: Peer
    source: str
    gateway: str
    path: int = 0
    """The mark of the Initiator as the exit got it; its Ack carries the same."""
    entry_path: int = 0
    """The mark that the entry's side gave it, if that is another worker."""
    size: int = 0
    """Bytes that its Initiator takes while it is not answered."""
    initiator: Initiator | None = field(default=None, repr=False)
    """What the entry, an agent, has said, if another worker was asked, which may not have the exit any more."""
    proposed_at: float = 0.0
    """When it was proposed, by the monotonic clock."""
    resumable: bool = False
    stalled: float = 0.0
    """Seconds for which credit was kept back."""
    request: ConnectionRequest | None = field(default=None, repr=False)
    """What the policy was asked about the session here, to ask again; None if another worker has asked."""
    record: Record | None = None
    """What is known of the session, if its entry is here."""
    halves: tuple[Half, Half] = field(init=False, repr=False)
    """By Direction."""

    def __post_init__(self) -> None:
        self.halves = Half(self.entry, self.exit), Half(self.exit, self.entry)

    def direction_from(self, peer: Peer) -> Direction:
        """Where the messages of one of its peers travel; of the exit if it is both."""
        return TO_ENTRY if self.exit is peer else TO_EXIT

    def has_same_agents(self, other: Route) -> bool:
        """Whether both are between the same two gateways."""
        return (self.source, self.gateway) == (other.source, other.gateway)


class Routes:
    """All routes of a worker, by session and by peer."""

    def __init__(self) -> None:
        self._laid: dict[bytes, Route] = {}
        self._tables: WeakKeyDictionary[Peer, RouteTable] = WeakKeyDictionary()

    def __len__(self) -> int:
        return len(self._laid)

    def all(self) -> list[Route]:
        """All routes that are laid."""
        return list(self._laid.values())

    def of(self, peer: Peer) -> RouteTable:
        """What runs over the peer's link."""
        table = self._tables.get(peer)
        if table is None:
            table = self._tables[peer] = RouteTable()
        return table

    def get(self, session: bytes) -> Route | None:
        """The session's route, or None."""
        return self._laid.get(session)

    def propose(self, route: Route) -> None:
        """Remember a route until the exit has answered, or for ANSWER_TIMEOUT."""
        route.proposed_at = time.monotonic()
        self._forget_unanswered(route.entry, route.proposed_at - ANSWER_TIMEOUT)
        replaced = self.of(route.entry).proposals.get(route.session, {}).get(route.path)
        if replaced is not None:  # of protocol 0.1, which repeats itself without a mark
            self.withdraw(replaced)
        self.of(route.entry).unanswered.add(route.size)
        for peer in {route.entry, route.exit}:
            self.of(peer).proposals.setdefault(route.session, {})[route.path] = route

    def answered(self, exit_peer: Peer, session: bytes, path: int) -> Route | None:
        """The proposal that an Ack from `exit_peer` answers; it is one no longer. None if there is none."""
        route = self.of(exit_peer).proposals.get(session, {}).get(path)
        if route is None or route.exit is not exit_peer:
            return None
        self.withdraw(route)
        return route

    def withdraw(self, route: Route) -> None:
        """The proposal is of no use any more."""
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
        """Withdraw the proposals from before `horizon`: they stand first."""
        proposals = self.of(entry).proposals
        while proposals:
            oldest = next(iter(proposals.values()))
            route = next(iter(oldest.values()))
            if route.proposed_at > horizon:
                return
            self.withdraw(route)

    def proposed_by(self, entry: Peer, session: bytes) -> Route | None:
        """The latest proposal for a session that came over `entry`, or None."""
        proposals = self.of(entry).proposals.get(session, {}).values()
        return next((route for route in reversed(proposals) if route.entry is entry), None)

    def is_proposed_to(self, exit_peer: Peer, session: bytes) -> bool:
        """Whether the exit at `exit_peer` has been asked for a session, and has not answered yet."""
        proposals = self.of(exit_peer).proposals.get(session, {}).values()
        return any(route.exit is exit_peer for route in proposals)

    def lay(self, route: Route) -> None:
        """The exit has accepted: from now on the session's messages go this way, and no older one."""
        self.remove(self._laid.get(route.session))
        self._laid[route.session] = route
        self.of(route.entry).routes[route.session] = route
        self.of(route.exit).routes[route.session] = route

    def remove(self, route: Route | None) -> None:
        """The session is over, or its path is lost."""
        if route is not None and self._laid.get(route.session) is route:
            del self._laid[route.session]
            self.of(route.entry).routes.pop(route.session, None)
            self.of(route.exit).routes.pop(route.session, None)

    def would_steal(self, route: Route) -> bool:
        """Whether laying `route` would take a session away from the agents that own it."""
        laid = self._laid.get(route.session)
        if laid is not None and not (laid.resumable and laid.has_same_agents(route)):
            return True
        # Proposals of protocol 0.1 have no mark to tell two for one session apart by.
        for peer in (route.exit, route.entry):
            proposed = self.of(peer).proposals.get(route.session, {}).get(route.path)
            if proposed is not None:
                return not proposed.has_same_agents(route)
        return False
