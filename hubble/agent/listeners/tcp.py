"""A TCP port."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress

import gevent

from hubble.agent.listeners.interface import Accepted
from hubble.agent.rules import Rule
from hubble.base.floodlog import FloodLog
from hubble.base.networks import network_of
from hubble.base.slices import others_if_due
from hubble.transport.addresses import Socket, reason
from hubble.transport.endpoint import endpoint
from hubble.transport.listen import open_listener
from hubble.transport.liveness import is_client_gone

log = logging.getLogger(__name__)

PAUSE = 0.5
"""Seconds until the next attempt after one that failed: a descriptor may be free by then."""


class TCPListener:
    """Listens on the address and port of `rule`."""

    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        self._flood_log = FloodLog(log)
        self._sock: Socket | None = None

    @property
    def rule(self) -> Rule:
        """The rule that it listens for."""
        return self._rule

    def open(self) -> tuple[str, int]:
        """Listen; return the address and the port. Raises ListenError."""
        self._sock = open_listener(self._rule.bind, self._rule.port)
        address, port = self._sock.getsockname()[:2]
        return address, port

    def serve(self, hand_over: Callable[[Accepted], None]) -> None:
        """Accept connections until the greenlet is killed. One whose client is gone already is dropped."""
        assert self._sock is not None
        while True:
            try:
                sock, address = self._sock.accept()
            except OSError as error:  # mostly no free descriptor
                self._flood_log.log(
                    logging.ERROR, "cannot accept", "", "rule %s: cannot accept: %s", self._rule, reason(error)
                )
                gevent.sleep(PAUSE)
                continue
            if is_client_gone(sock):
                sock.close()
            else:
                client = endpoint(*address[:2])
                hand_over(Accepted(sock, client, network_of_one(address[0]), self._rule))
            others_if_due()

    def close(self) -> None:
        """Stop listening."""
        if self._sock is not None:
            with suppress(OSError):
                self._sock.close()


def network_of_one(address: str) -> str:
    """Return the address itself, or the /64 of an IPv6 address: a client chooses among the addresses of its own."""
    return network_of(address) if ":" in address else address
