"""Bind listening sockets with the standard library only, because the supervisor does not import gevent."""

from __future__ import annotations

import errno
import re
import socket
import time

from hubble.base.errors import ListenError, UsageError
from hubble.transport.endpoint import endpoint

BACKLOG = 4096
PATIENCE = 2.0
"""Seconds to retry while a process that was just killed may still hold the address."""


def parse_listen(text: str) -> tuple[str, int]:
    """Return the host ("" for every address) and the port of `[host]:port`. Raises UsageError."""
    match = re.fullmatch(r"(?P<host>\[[^]]*\]|[^:]*):(?P<port>\d{1,5})", text)
    if match is None or int(match["port"]) > 65535:
        raise UsageError(f"the address to listen on, {text!r}, should look like :8080, 127.0.0.1:8080 or [::1]:8080")
    return match["host"].strip("[]"), int(match["port"])


def bind_listener(host: str, port: int, *, listen: bool = True) -> socket.socket:
    """Return a socket bound to `host` (a name or an address; "" for every address of both families) and `port`.

    With `listen` it accepts connections. Without, connections are refused until the caller calls `begin_to_listen`.
    Raises ListenError, one line with the address and the reason.
    """
    where = endpoint(host, port)
    try:
        family, address = _where(host, port)
        listener = socket.socket(family, socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ListenError(f"cannot listen on {where}: {getattr(error, 'strerror', None) or error}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(bool(host)))
        listener.bind(address)
        if listen:
            listener.listen(BACKLOG)
        else:  # so that no other process can bind to the address meanwhile
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    except OSError as error:
        listener.close()
        raise ListenError(f"cannot listen on {where}: {error.strerror}") from error
    return listener


def begin_to_listen(listener: socket.socket) -> None:
    """Have a bound socket accept connections. Does nothing if it does already. Raises ListenError."""
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.listen(BACKLOG)
    except OSError as error:
        where = endpoint(*listener.getsockname()[:2])
        raise ListenError(f"cannot listen on {where}: {error.strerror}") from error


def bind_patiently(host: str, port: int, *, listen: bool = True) -> socket.socket:
    """Call `bind_listener`, and retry for PATIENCE seconds while the address is in use. Raises ListenError."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return bind_listener(host, port, listen=listen)
        except ListenError as error:
            cause = error.__cause__
            in_use = isinstance(cause, OSError) and cause.errno == errno.EADDRINUSE
            if not in_use or time.monotonic() > deadline:
                raise
        time.sleep(0.05)


def _where(host: str, port: int) -> tuple[int, tuple[object, ...]]:
    if not host:
        return (socket.AF_INET6, ("::", port)) if _has_ipv6() else (socket.AF_INET, ("0.0.0.0", port))
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    return family, address


def _has_ipv6() -> bool:
    try:
        socket.socket(socket.AF_INET6, socket.SOCK_STREAM).close()
    except OSError:
        return False
    return True
