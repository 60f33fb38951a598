"""What throttles an agent that is refused too often."""

from __future__ import annotations

import logging

import pytest
from gevent import socket
from websockets.protocol import SERVER

from hubble.proxy.sessions.excess import Excess
from hubble.transport.link import Link
from hubble.transport.peer import Peer


def test_the_last_messages_of_a_closed_link_are_not_logged_one_by_one(caplog: pytest.LogCaptureFixture) -> None:
    """They are handled in spite of the pause, and there may be thousands."""
    ours, theirs = socket.socketpair()
    link = Link(ours, SERVER)
    excess = Excess(Peer(link, "noisy", True), 2)
    with caplog.at_level(logging.WARNING, "hubble"):
        for _ in range(2):
            excess.count()
            excess.hold_back("too many")
        assert len(caplog.records) == 1
        link.abort("the test is over")
        for _ in range(100):
            excess.count()
            excess.hold_back("too many")
    assert len(caplog.records) == 1
    theirs.close()
