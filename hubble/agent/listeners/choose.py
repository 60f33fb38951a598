"""The choice of a listener for a rule."""

from __future__ import annotations

from hubble.agent.listeners.interface import Listener
from hubble.agent.listeners.tcp import TCPListener
from hubble.agent.rules import Rule


def listener_for(rule: Rule) -> Listener:
    """Return a listener for `rule`. It is not open yet."""
    return TCPListener(rule)
