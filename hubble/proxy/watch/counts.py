"""What has passed at a worker, ever."""

from __future__ import annotations

from dataclasses import dataclass, field

from hubble.base.slices import in_chunks
from hubble.protocol.direction import Direction
from hubble.proxy.sessions.registry import SessionRegistry
from hubble.proxy.sessions.routes import Route


def _pair() -> list[int]:
    return [0, 0]


@dataclass(slots=True)
class Totals:
    """Of either direction, the streams' bytes and the messages that carried them.

    stalled: seconds for which credit was kept back.
    """

    bytes: list[int] = field(default_factory=_pair)
    messages: list[int] = field(default_factory=_pair)
    stalled: float = 0.0

    def add(self, route: Route) -> None:
        """Count what has passed over a route."""
        for direction in Direction:
            half = route.halves[direction]
            self.bytes[direction] += half.passed
            self.messages[direction] += half.messages
        self.stalled += route.stalled

    def with_open(self, sessions: SessionRegistry) -> Totals:
        """These, which are of routes that are gone, and those of the sessions that have a route.

        It takes a while. A session that ends meanwhile is counted all the same, and once: here by its route, later
        among the totals.
        """
        routes = [record.route for record in sessions.all() if record.route is not None]
        found = Totals(list(self.bytes), list(self.messages), self.stalled)
        for chunk in in_chunks(routes):
            for route in chunk:
                found.add(route)
        return found
