"""Whether the client of an accepted connection is still there."""

from __future__ import annotations

import select

from gevent import monkey

from hubble.transport.addresses import Socket

# Not gevent's, which visits the event loop: this one never waits. Without any, as on Windows, nobody is ever gone.
_poll = monkey.get_original("select", "poll") if hasattr(select, "poll") else None


def is_client_gone(sock: Socket) -> bool:
    """Return whether the connection was reset, or closed in both directions. Costs about a microsecond.

    A client that has only ended its stream is not gone: it may wait for an answer.
    """
    if sock.fileno() < 0:
        return True
    if _poll is None:
        return False
    poller = _poll()
    poller.register(sock.fileno(), 0)  # POLLERR and POLLHUP are always reported
    return bool(poller.poll(0))
