"""Evens out what time has made uneven: a worker with clearly more than its share has some idle agents move.

After a worker has died its agents are at the others, and would stay there. An agent without a session loses nothing by
moving: it registers anew, at the worker with the fewest, before it lets go of its old link.
"""

from __future__ import annotations

from itertools import islice
from weakref import WeakSet

import gevent

from hubble.protocol.codec import encode
from hubble.protocol.messages import GoAway
from hubble.proxy.gateways import Gateways
from hubble.proxy.routes import Leg
from hubble.transport.server import Load

INTERVAL = 1.0
AT_ONCE = 20
"""Agents that are asked each INTERVAL: to move is cheap, but not for nothing."""
GRACE = 30
"""Seconds that an agent is told it has; nobody minds if it takes longer."""


class Balance:
    """Looks at the `load`, and asks some of the `gateways` to move."""

    def __init__(self, gateways: Gateways, load: Load) -> None:
        self._gateways = gateways
        self._load = load
        self._asked: WeakSet[Leg] = WeakSet()

    def run(self) -> None:
        """Until killed."""
        while True:
            gevent.sleep(INTERVAL)
            self.look()

    def look(self) -> None:
        """Ask as many as are too many, of those that may move without a loss, each once."""
        idle = (leg for leg in self._gateways if leg.is_idle and leg.resumable and leg not in self._asked)
        for leg in islice(idle, min(self._load.excess(), AT_ONCE)):
            self._asked.add(leg)
            leg.link.send(encode(GoAway(GRACE)))
