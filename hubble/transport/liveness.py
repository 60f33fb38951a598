"""Detect whether the client of an accepted connection has disconnected."""

from __future__ import annotations

import select

from gevent import monkey

from hubble.transport.addresses import Socket

# Not gevent's poll, which runs the event loop: this call never waits. Windows has no poll: there, no client is gone.
_poll = monkey.get_original("select", "poll") if hasattr(select, "poll") else None


def is_client_gone(sock: Socket) -> bool:
    """Return whether the connection was reset, or closed in both directions. Costs about a microsecond.

    A client that has only ended its stream is still connected: it may wait for an answer.
    """
    if sock.fileno() < 0:
        return True
    if _poll is None:
        return False
    poller = _poll()
    poller.register(sock.fileno(), 0)  # POLLERR and POLLHUP are always reported
    return bool(poller.poll(0))
