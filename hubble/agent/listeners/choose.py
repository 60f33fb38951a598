"""The listener that a rule asks for."""

from __future__ import annotations

from hubble.agent.listeners.interface import Listener
from hubble.agent.listeners.tcp import TCPListener
from hubble.agent.rules import Rule


def listener_for(rule: Rule) -> Listener:
    """Return a listener for `rule`, not opened yet."""
    return TCPListener(rule)
