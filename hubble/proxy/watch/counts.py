"""The total traffic of a worker since it started."""

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
    """The streams' bytes and the messages that carried them, by direction.

    stalled: seconds for which credit was held back.
    """

    bytes: list[int] = field(default_factory=_pair)
    messages: list[int] = field(default_factory=_pair)
    stalled: float = 0.0

    def add(self, route: Route) -> None:
        """Add the counts of a route."""
        for direction in Direction:
            half = route.halves[direction]
            self.bytes[direction] += half.passed
            self.messages[direction] += half.messages
        self.stalled += route.stalled

    def with_open(self, sessions: SessionRegistry) -> Totals:
        """Return these totals, which cover routes that are gone, plus the counts of the current routes.

        The call yields to other greenlets. A session that ends meanwhile is still counted exactly once.
        """
        routes = [record.route for record in sessions.all() if record.route is not None]
        found = Totals(list(self.bytes), list(self.messages), self.stalled)
        for chunk in in_chunks(routes):
            for route in chunk:
                found.add(route)
        return found
