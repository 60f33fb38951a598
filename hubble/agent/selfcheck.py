"""Detect that a proxy of protocol 0.1 has forgotten the agent: the agent regularly requests a session to itself.

The original's proxy gives a name to the agent that registers last, and forgets the name when that agent's link ends,
although an earlier agent of the same name is still linked. Nothing tells the earlier agent. A Hubble proxy refuses the
duplicate instead, so its links need no check.
"""

from __future__ import annotations

import logging
import random
import uuid

import gevent

from hubble.agent.links import Links
from hubble.protocol.codec import encode
from hubble.protocol.legacy.words import NO_GATEWAY
from hubble.protocol.messages import Ack, ConnectionClosed, Initiator, Refusal

log = logging.getLogger(__name__)

HOST, PORT = "127.0.0.1", 0
"""The destination of the check. Should another agent have the name, it cannot connect to port 0."""
LONGEST = 60
"""The most intervals in a pause, which doubles with each consecutive loss: a new registration ends sessions of 0.1."""


class SelfCheck:
    """Checks a link that is not resumable about every `interval` seconds, and closes it if the proxy lost the name."""

    def __init__(self, name: str, links: Links, interval: float) -> None:
        self._name = name
        self._links = links
        self._interval = interval
        self._pause = interval
        self._session = b""
        """The session last requested, until it is answered."""

    def run(self) -> None:
        """Run checks until killed."""
        while True:
            gevent.sleep(self._pause * random.uniform(0.75, 1.25))
            link = self._links.link
            if link is not None and not self._links.resumable:
                self._session = uuid.uuid4().bytes
                link.send(encode(Initiator(self._session, HOST, PORT, self._name)))

    def arrived(self, initiator: Initiator) -> bool:
        """Refuse an Initiator of the agent's own check: the proxy knows the name. Return whether it was one."""
        if not self._is_own(initiator.session):
            return False
        self._pause = self._interval
        link = self._links.link
        if link is not None:
            link.send(encode(Ack(initiator.session, False, "a check of the registration", Refusal.BAD_REQUEST)))
        return True

    def answered(self, ack: Ack) -> bool:
        """Handle the answer to a check, and return whether it was one."""
        if not self._is_own(ack.session):
            return False
        self._session = b""
        link = self._links.link
        if link is None:
            return True
        if ack.message == NO_GATEWAY:
            log.warning("the proxy no longer knows %s, probably because of another agent of this name", self._name)
            self._pause = min(2 * self._pause, LONGEST * self._interval)
            link.close(1000, "registering again")
        else:  # the proxy may keep a session that was refused
            link.send(encode(ConnectionClosed(ack.session)))
        return True

    def _is_own(self, session: bytes) -> bool:
        return bool(self._session) and session == self._session
