"""Which two peers a session's messages travel between. No message is looked into but for its kind and its session.

A route is proposed when an Initiator is passed on to the exit, and laid when the exit's Ack has accepted it: until then
an older route of the session stays. Each peer has a table of the routes over its link.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from gevent.event import Event

from hubble.policy import ConnectionRequest
from hubble.transport.peer import Peer

if TYPE_CHECKING:
    from hubble.proxy.sessions.record import Record


@dataclass(slots=True)
class Table:
    """What runs over the link of one peer."""

    routes: dict[bytes, Route] = field(default_factory=dict)
    proposals: dict[tuple[bytes, int], Route] = field(default_factory=dict)
    asking: set[bytes] = field(default_factory=set)
    """The sessions about which the policy is being asked."""
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
        sessions = {*self.routes, *(key[0] for key in self.proposals), *self.asking}
        return len(sessions - {session}) >= number


@dataclass(eq=False, slots=True)
class Half:
    """One direction of a route: what the sender says is passed on to the receiver."""

    sender: Peer
    receiver: Peer
    passed: int = 0
    """Bytes of the stream that came this way."""
    messages: int = 0
    """How many messages carried them."""
    held_credit: bytes | None = None
    """The latest credit that the sender grants, kept back while the queue towards it is long."""
    held_since: float = 0.0
    is_done: bool = False
    """Whether the sender has said Done."""


@dataclass(eq=False)
class Route:
    """The way of one session, from the gateway `source` to the gateway `destination`.

    `resumable`: both its ends have agreed on the extension.
    """

    session: bytes
    entry: Peer
    exit: Peer
    source: str
    destination: str
    path: int = 0
    """The mark of the Initiator as the exit got it; its Ack carries the same."""
    entry_path: int = 0
    """The mark that the entry's side gave it, if that is another worker."""
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

    def has_same_agents(self, other: Route) -> bool:
        """Whether both are between the same two gateways."""
        return (self.source, self.destination) == (other.source, other.destination)


class Routes:
    """All routes of a worker, by session and by peer."""

    def __init__(self) -> None:
        self._laid: dict[bytes, Route] = {}
        self._tables: WeakKeyDictionary[Peer, Table] = WeakKeyDictionary()

    def __len__(self) -> int:
        return len(self._laid)

    def all(self) -> list[Route]:
        """All routes that are laid."""
        return list(self._laid.values())

    def of(self, peer: Peer) -> Table:
        """What runs over the peer's link."""
        table = self._tables.get(peer)
        if table is None:
            table = self._tables[peer] = Table()
        return table

    def get(self, session: bytes) -> Route | None:
        """The session's route, or None."""
        return self._laid.get(session)

    def propose(self, route: Route) -> None:
        """Remember a route until the exit has answered."""
        key = (route.session, route.path)
        self.of(route.exit).proposals[key] = route
        self.of(route.entry).proposals[key] = route

    def answered(self, exit_peer: Peer, session: bytes, path: int) -> Route | None:
        """The proposal that an Ack from `exit_peer` answers; it is one no longer. None if there is none."""
        route = self.of(exit_peer).proposals.get((session, path))
        if route is None or route.exit is not exit_peer:
            return None
        self.withdraw(route)
        return route

    def withdraw(self, route: Route) -> None:
        """The proposal is of no use any more."""
        key = (route.session, route.path)
        self.of(route.exit).proposals.pop(key, None)
        self.of(route.entry).proposals.pop(key, None)

    def proposed_by(self, entry: Peer, session: bytes) -> Route | None:
        """The latest proposal for a session that came over `entry`, or None."""
        found = [
            route for route in self.of(entry).proposals.values() if route.session == session and route.entry is entry
        ]
        return found[-1] if found else None

    def is_proposed_to(self, exit_peer: Peer, session: bytes) -> bool:
        """Whether the exit at `exit_peer` has been asked for a session, and has not answered yet."""
        return any(
            route.session == session and route.exit is exit_peer for route in self.of(exit_peer).proposals.values()
        )

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
        key = (route.session, route.path)
        proposed = self.of(route.exit).proposals.get(key) or self.of(route.entry).proposals.get(key)
        return proposed is not None and not proposed.has_same_agents(route)
