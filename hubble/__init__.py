"""Hubble: reach services in another private network through a public proxy, over WebSockets.

Importing this package patches nothing. Programs of your own that use Lua policies, or blocking code of others, call
`gevent.monkey.patch_all()` first, as the `hubble-proxy` and `hubble-agent` programs do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hubble.base.version import __version__

__all__ = ["Agent", "Proxy", "Rule", "__version__", "install_event_logger"]

if TYPE_CHECKING:
    from hubble.agent.agent import Agent
    from hubble.agent.rules import Rule
    from hubble.events.feed import install_event_logger
    from hubble.proxy.proxy import Proxy

_HOMES = {
    "Agent": "hubble.agent.agent",
    "Proxy": "hubble.proxy.proxy",
    "Rule": "hubble.agent.rules",
    "install_event_logger": "hubble.events.feed",
}


def __getattr__(name: str) -> Any:
    """The public names, imported when first asked for: an agent needs nothing of the proxy."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
