"""Evens out what time has made uneven: a worker with clearly more than its share has some idle agents move.

After a worker has died its agents are at the others, and would stay there. An agent without a session loses nothing by
moving: it registers anew, at the worker with the fewest, before it lets go of its old link.
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
"""Agents that are asked each INTERVAL: to move is cheap, but not for nothing."""
GRACE = 30
"""Seconds that an agent is told it has. Nobody minds if it takes longer, but then another is asked in its place."""


class Balance:
    """Looks at the `load`, and asks some of the `gateways` to move."""

    def __init__(self, gateways: Gateways, routes: Routes, load: SharedLoad) -> None:
        self._gateways = gateways
        self._routes = routes
        self._load = load
        self._asked: WeakKeyDictionary[Gateway, float] = WeakKeyDictionary()
        """When, by the monotonic clock."""

    def run(self) -> None:
        """Until killed."""
        while True:
            gevent.sleep(INTERVAL)
            self.rebalance()

    def rebalance(self) -> None:
        """Ask as many as are too many, of those that may move without a loss, each once.

        Who was asked and is about to move is too many no more: not all are quick, nor let in elsewhere at once.
        """
        excess = self._load.excess()
        if not excess:
            return
        for gateway in islice(self._idle(), max(0, min(excess - self._moving(), AT_ONCE))):
            self._asked[gateway] = time.monotonic()
            gateway.link.send(encode(GoAway(GRACE)))

    def _idle(self) -> Iterator[Gateway]:
        """Those that lose nothing by moving, and were not asked yet."""
        for gateway in self._gateways:
            if gateway.resumable and gateway not in self._asked and self._routes.of(gateway).is_idle:
                yield gateway

    def _moving(self) -> int:
        """How many that were asked are here still."""
        horizon = time.monotonic() - GRACE
        return sum(
            since > horizon and self._gateways.get(gateway.name) is gateway
            for gateway, since in list(self._asked.items())
        )
