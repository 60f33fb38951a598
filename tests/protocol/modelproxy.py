"""Links and a proxy, as a model without sockets: every message stands in some queue until a test delivers it.

The rules are the project's (docs/protocol.md): on one link the messages of one session stay in order, but for Ack and
CREDIT, which may overtake others; Ack and RESET drop what is queued of their session. A proxy lays a route when the
exit's Ack passes, and takes a session's messages only from the two links of its route. It may learn late that a link
is gone, or that an agent has another.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from hubble.protocol.messages import Ack, Credit, Done, Eof, Initiator, Message, Refusal, Reset, Stream, Suspend

if TYPE_CHECKING:
    from tests.protocol.network import Agent

LANE_SIZE = 3
"""Messages from which on an agent puts no more of a stream into a lane."""


class Queue:
    """One direction of a link."""

    def __init__(self) -> None:
        self.lanes: dict[bytes, deque[Message]] = {}
        self.urgent: deque[Message] = deque()

    def __bool__(self) -> bool:
        return bool(self.urgent) or any(self.lanes.values())

    def put(self, message: Message) -> None:
        session = message.session  # type: ignore[union-attr]
        lane = self.lanes.setdefault(session, deque())
        if isinstance(message, Ack | Reset):
            lane.clear()
        if isinstance(message, Ack | Credit):
            self.urgent.append(message)
        else:
            lane.append(message)

    def waiting(self) -> list[deque[Message]]:
        """The lanes from which the next message may come: what is urgent is written before everything that waits."""
        return [self.urgent] if self.urgent else [lane for lane in self.lanes.values() if lane]

    def is_full(self, session: bytes) -> bool:
        return len(self.lanes.get(session, ())) >= LANE_SIZE

    def truncate(self, keep: Callable[[int], int]) -> None:
        """Everything from some point on vanishes; `keep` tells of a number of messages how many are left."""
        for lane in (self.urgent, *self.lanes.values()):
            for _ in range(len(lane) - keep(len(lane))):
                lane.pop()


class Link:
    """Between an agent and the proxy. Once cut it takes nothing; what is left of its queues still arrives."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.up, self.down = Queue(), Queue()
        self.cut = False
        self.known_to_proxy = True
        """Whether the proxy believes that this link is there."""

    def send_up(self, message: Message) -> None:
        if not self.cut:
            self.up.put(message)

    def send_down(self, message: Message) -> None:
        if not self.cut:
            self.down.put(message)


@dataclass(eq=False)
class Route:
    session: bytes
    entry: Link
    exit: Link
    done: set[bool] = field(default_factory=set)

    def link(self, of_exit: bool) -> Link:
        return self.exit if of_exit else self.entry


class Proxy:
    """Passes messages on, and never keeps one."""

    def __init__(self) -> None:
        self.registered: dict[str, Link] = {}
        self.routes: dict[bytes, Route] = {}
        self.proposals: dict[int, Route] = {}
        self.deciding: list[tuple[Link, Initiator]] = []
        self._marks = 0
        self._answered: set[tuple[bytes, bool]] = set()

    def register(self, link: Link) -> None:
        self.registered[link.agent.name] = link

    def restart(self) -> None:
        """It knows nothing any more; its links are cut already."""
        self.registered.clear()
        self.routes.clear()
        self.proposals.clear()
        self.deciding.clear()
        self._answered.clear()

    def lost(self, link: Link) -> None:
        """The proxy has noticed that a link is gone."""
        if not link.known_to_proxy:
            return
        link.known_to_proxy = False
        link.cut = True
        if self.registered.get(link.agent.name) is link:
            del self.registered[link.agent.name]
        for mark, route in list(self.proposals.items()):
            if link in (route.entry, route.exit):
                del self.proposals[mark]
                if route.exit is link:
                    route.entry.send_down(Ack(route.session, False, "away", Refusal.NO_GATEWAY))
        for route in list(self.routes.values()):
            if link in (route.entry, route.exit):
                del self.routes[route.session]
                of_exit = route.exit is link
                route.link(not of_exit).send_down(Suspend(route.session, of_exit))

    def receive(self, link: Link, message: Message) -> None:
        match message:
            case Initiator():
                self._answered.discard((message.session, False))
                self.deciding.append((link, message))  # the policy may take its time
            case Ack():
                self._answered.discard((message.session, True))
                self._acknowledge(link, message)
            case _:
                self._pass_on(link, message)

    def decide(self, number: int) -> None:
        """The policy has granted one of the Initiators."""
        link, initiator = self.deciding.pop(number)
        exit_link = self.registered.get("exit")
        if not link.known_to_proxy:
            return
        if exit_link is None:
            link.send_down(Ack(initiator.session, False, "away", Refusal.NO_GATEWAY))
            return
        self._marks += 1
        self.proposals[self._marks] = Route(initiator.session, link, exit_link)
        exit_link.send_down(replace(initiator, path=self._marks))

    def _acknowledge(self, link: Link, ack: Ack) -> None:
        route = self.proposals.pop(ack.path, None)
        if route is None or route.exit is not link:
            if ack.ok:
                link.send_down(Suspend(ack.session, False))
            return
        if ack.ok:
            self.routes[ack.session] = route
        route.entry.send_down(replace(ack, path=0))

    def _pass_on(self, link: Link, message: Message) -> None:
        assert isinstance(message, Stream | Credit | Eof | Reset | Done | Suspend)
        session, from_exit = message.session, message.from_exit
        route = self.routes.get(session)
        if route is None or route.link(from_exit) is not link:
            if isinstance(message, Stream | Eof) and (session, from_exit) not in self._answered:
                self._answered.add((session, from_exit))
                link.send_down(Suspend(session, not from_exit))
            return
        if isinstance(message, Reset):
            del self.routes[session]
        elif isinstance(message, Done):
            route.done.add(from_exit)
            if len(route.done) == 2:
                del self.routes[session]
        route.link(not from_exit).send_down(message)
