"""Which two links a session's messages travel between. No message is looked into but for its kind and its session.

A leg is one link of this proxy, with the routes that run over it. A route is proposed when an Initiator is passed on
to the exit, and laid when the exit's Ack has accepted it: until then an older route of the session stays.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gevent.event import Event

from hubble.policy import ConnectionRequest, RegistrationRequest
from hubble.transport.link import Link

if TYPE_CHECKING:
    from hubble.proxy.watch.record import Record

MAX_NAME = 255


@dataclass(eq=False)
class Leg:
    """A link and what runs over it. `resumable` says that its other end understands the extension."""

    link: Link
    name: str
    resumable: bool
    instance: bytes = field(default=b"", repr=False)
    epoch: int = 0
    address: str = ""
    identity: str = ""
    registration: RegistrationRequest | None = field(default=None, repr=False)
    """What the policy was asked about it, to ask again."""
    is_worker: bool = False
    """Whether the other end is another worker of this proxy, and no agent."""
    routes: dict[bytes, Route] = field(default_factory=dict, repr=False)
    proposals: dict[tuple[bytes, int], Route] = field(default_factory=dict, repr=False)
    asking: set[bytes] = field(default_factory=set, repr=False)
    """The sessions about which the policy is being asked, for this leg."""
    room: dict[bytes, Event] = field(default_factory=dict, repr=False)
    """For a session of protocol 0.1 whose sender waits: set when its lane here has room again."""

    @property
    def is_idle(self) -> bool:
        """Whether no session runs over it, or is about to."""
        return not (self.routes or self.proposals or self.asking)

    def has_other_sessions(self, session: bytes, number: int) -> bool:
        """Whether `number` sessions besides this one are open, proposed, or asked about over this leg."""
        if len(self.routes) + len(self.proposals) + len(self.asking) < number:
            return False
        sessions = {*self.routes, *(key[0] for key in self.proposals), *self.asking}
        return len(sessions - {session}) >= number


@dataclass(eq=False)
class Route:
    """The way of one session, from the gateway `source` to the gateway `destination`.

    `resumable`: both its ends have agreed on the extension.
    """

    session: bytes
    entry: Leg
    exit: Leg
    source: str
    destination: str
    path: int = 0
    """The mark of the Initiator as the exit got it; its Ack carries the same."""
    entry_path: int = 0
    """The mark that the entry's side gave it, if that is another worker."""
    resumable: bool = False
    done: set[bool] = field(default_factory=set)
    """Which of the ends, entry (False) or exit (True), have said Done."""
    held_credit: dict[bool, bytes] = field(default_factory=dict)
    """The latest credit of an end, kept back while the queue towards that end is long."""
    passed: list[int] = field(default_factory=lambda: [0, 0])
    """Bytes of the streams that came this way: of the entry's, of the exit's."""
    messages: list[int] = field(default_factory=lambda: [0, 0])
    """How many messages carried them."""
    held_since: dict[bool, float] = field(default_factory=dict)
    stalled: float = 0.0
    """Seconds for which credit was kept back."""
    request: ConnectionRequest | None = field(default=None, repr=False)
    """What the policy was asked about the session here, to ask again; None if another worker has asked."""
    record: Record | None = None
    """What the audit knows of the session, if its entry is here."""

    def leg(self, of_exit: bool) -> Leg:
        """The leg of one end."""
        return self.exit if of_exit else self.entry

    def has_same_agents(self, other: Route) -> bool:
        """Whether both are between the same two gateways."""
        return (self.source, self.destination) == (other.source, other.destination)


def worker_leg_name(worker_id: str) -> str:
    """What the leg to another worker is called."""
    return f"worker {worker_id}"


class Routes:
    """All routes of a worker, by session."""

    def __init__(self) -> None:
        self._laid: dict[bytes, Route] = {}

    def __len__(self) -> int:
        return len(self._laid)

    def all(self) -> list[Route]:
        """All routes that are laid."""
        return list(self._laid.values())

    def get(self, session: bytes) -> Route | None:
        """The session's route, or None."""
        return self._laid.get(session)

    def propose(self, route: Route) -> None:
        """Remember a route until the exit has answered."""
        key = (route.session, route.path)
        route.exit.proposals[key] = route
        route.entry.proposals[key] = route

    def answered(self, exit_leg: Leg, session: bytes, path: int) -> Route | None:
        """The proposal that an Ack from `exit_leg` answers; it is one no longer. None if there is none."""
        route = exit_leg.proposals.get((session, path))
        if route is None or route.exit is not exit_leg:
            return None
        self.withdraw(route)
        return route

    def withdraw(self, route: Route) -> None:
        """The proposal is of no use any more."""
        key = (route.session, route.path)
        route.exit.proposals.pop(key, None)
        route.entry.proposals.pop(key, None)

    def proposed_by(self, entry: Leg, session: bytes) -> Route | None:
        """The latest proposal for a session that came over `entry`, or None."""
        found = [route for route in entry.proposals.values() if route.session == session and route.entry is entry]
        return found[-1] if found else None

    def is_proposed_to(self, exit_leg: Leg, session: bytes) -> bool:
        """Whether the exit at `exit_leg` has been asked for a session, and has not answered yet."""
        return any(route.session == session and route.exit is exit_leg for route in exit_leg.proposals.values())

    def lay(self, route: Route) -> None:
        """The exit has accepted: from now on the session's messages go this way, and no older one."""
        self.remove(self._laid.get(route.session))
        self._laid[route.session] = route
        route.entry.routes[route.session] = route
        route.exit.routes[route.session] = route

    def remove(self, route: Route | None) -> None:
        """The session is over, or its path is lost."""
        if route is not None and self._laid.get(route.session) is route:
            del self._laid[route.session]
            route.entry.routes.pop(route.session, None)
            route.exit.routes.pop(route.session, None)

    def would_steal(self, route: Route) -> bool:
        """Whether laying `route` would take a session away from the agents that own it."""
        laid = self._laid.get(route.session)
        if laid is not None and not (laid.resumable and laid.has_same_agents(route)):
            return True
        # Proposals of protocol 0.1 have no mark to tell two for one session apart by.
        key = (route.session, route.path)
        proposed = route.exit.proposals.get(key) or route.entry.proposals.get(key)
        return proposed is not None and not proposed.has_same_agents(route)
