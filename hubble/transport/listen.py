"""Listening sockets of gevent's."""

from __future__ import annotations

from gevent import socket

from hubble.transport.addresses import Socket
from hubble.transport.bind import bind_listener


def open_listener(host: str, port: int) -> Socket:
    """As `bind_listener`, which it calls, but a socket that does not block the hub. Raises ListenError."""
    listener: Socket = socket.socket(fileno=bind_listener(host, port).detach())
    return listener
