"""Listening sockets for gevent."""

from __future__ import annotations

from gevent import socket

from hubble.transport.addresses import Socket
from hubble.transport.bind import bind_listener


def open_listener(host: str, port: int) -> Socket:
    """Return a listening socket as `bind_listener` does, but one that does not block the hub. Raises ListenError."""
    listener: Socket = socket.socket(fileno=bind_listener(host, port).detach())
    return listener
