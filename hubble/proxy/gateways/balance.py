"""Balances agents over the workers: a worker with clearly more than its share asks some idle agents to move.

After a worker has died, its agents reconnect to the other workers and would stay there. An agent without a session
loses nothing by moving: it registers at the least loaded worker before it closes its old link.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice
from weakref import WeakKeyDictionary

import gevent

from hubble.protocol.codec import encode
from hubble.protocol.messages import GoAway
from hubble.proxy.gateways.gateway import Gateway
from hubble.proxy.gateways.registry import Gateways
from hubble.proxy.sessions.routes import Routes
from hubble.transport.serve.server import SharedLoad

INTERVAL = 1.0
AT_ONCE = 20
"""Agents that are asked to move per INTERVAL: a move is cheap, but not free."""
GRACE = 30
"""Seconds that an agent has to move. A late move is harmless, but another agent is then asked in its place."""


class Balance:
    """Compares the `load` of the workers, and asks some of the `gateways` to move."""

    def __init__(self, gateways: Gateways, routes: Routes, load: SharedLoad) -> None:
        self._gateways = gateways
        self._routes = routes
        self._load = load
        self._asked: WeakKeyDictionary[Gateway, float] = WeakKeyDictionary()
        """The time each gateway was asked, by the monotonic clock."""

    def run(self) -> None:
        """Rebalance each INTERVAL until killed."""
        while True:
            gevent.sleep(INTERVAL)
            self.rebalance()

    def rebalance(self) -> None:
        """Ask as many idle gateways to move as the worker has in excess, each at most once.

        A gateway that was asked within the last GRACE seconds is no longer counted as excess.
        """
        excess = self._load.excess()
        if not excess:
            return
        for gateway in islice(self._idle(), max(0, min(excess - self._moving(), AT_ONCE))):
            self._asked[gateway] = time.monotonic()
            gateway.link.send(encode(GoAway(GRACE)))

    def _idle(self) -> Iterator[Gateway]:
        """Yield the gateways that have no session and were not asked yet."""
        for gateway in self._gateways:
            if gateway.resumable and gateway not in self._asked and self._routes.of(gateway).is_idle:
                yield gateway

    def _moving(self) -> int:
        """Return the number of gateways that were asked within GRACE and have not moved yet."""
        horizon = time.monotonic() - GRACE
        return sum(
            since > horizon and self._gateways.get(gateway.name) is gateway
            for gateway, since in list(self._asked.items())
        )
