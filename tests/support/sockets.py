"""A client's view of a session: a TCP connection to a port of loopback."""

from __future__ import annotations

import socket

import pytest

from tests.support.services import receive_exactly

PATIENCE = 20.0  # seconds that a client waits for anything unless it says otherwise


def connect(port: int, patience: float = PATIENCE) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), timeout=patience)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def echoed(sock: socket.socket, data: bytes) -> bytes:
    """What an echo service makes of `data`."""
    sock.sendall(data)
    return receive_exactly(sock, len(data))


def assert_echo(port: int, patience: float = PATIENCE) -> None:
    """A new session to an echo service works."""
    with connect(port, patience) as sock:
        assert echoed(sock, b"is anyone there?") == b"is anyone there?"


def assert_reset(sock: socket.socket, within: float) -> None:
    """The application sees a reset within so many seconds: not an end of stream, and not silence."""
    sock.settimeout(within)
    with pytest.raises(ConnectionResetError):
        data = sock.recv(1)
        pytest.fail(f"not a reset: {data!r}" if data else "an end of stream instead of a reset")
