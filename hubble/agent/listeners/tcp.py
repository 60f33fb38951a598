"""A listener on a TCP port."""

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
"""Seconds before the next attempt after `accept` failed: a descriptor may be free by then."""


class TCPListener:
    """A listener on the bind address and port of `rule`."""

    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        self._flood_log = FloodLog(log)
        self._sock: Socket | None = None

    @property
    def rule(self) -> Rule:
        """The rule whose connections it accepts."""
        return self._rule

    def open(self) -> tuple[str, int]:
        """Start listening. Return the address and the port. Raises ListenError."""
        self._sock = open_listener(self._rule.bind, self._rule.port)
        address, port = self._sock.getsockname()[:2]
        return address, port

    def serve(self, hand_over: Callable[[Accepted], None]) -> None:
        """Accept connections until this greenlet is killed. Drop each whose client has already disconnected."""
        assert self._sock is not None
        while True:
            try:
                sock, address = self._sock.accept()
            except OSError as error:  # most often the process has run out of descriptors
                self._flood_log.log(
                    logging.ERROR,
                    "cannot accept",
                    "",
                    "rule %s cannot accept a connection: %s",
                    self._rule,
                    reason(error),
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
    """Return an IPv4 address itself, and the /64 of an IPv6 address: a client may use any address in its /64."""
    return network_of(address) if ":" in address else address
