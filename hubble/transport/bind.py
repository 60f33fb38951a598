"""Binding addresses to listen on, with the standard library alone: the supervisor has no event loop of gevent's."""

from __future__ import annotations

import errno
import re
import socket
import time

from hubble.base.errors import ListenError, UsageError
from hubble.transport.endpoint import endpoint

BACKLOG = 4096
PATIENCE = 2.0
"""Seconds for which an address in use may be that of a process which was just killed."""


def parse_listen(text: str) -> tuple[str, int]:
    """The host ("" for every address) and the port of `[host]:port`. Raises UsageError."""
    match = re.fullmatch(r"(?P<host>\[[^]]*\]|[^:]*):(?P<port>\d{1,5})", text)
    if match is None or int(match["port"]) > 65535:
        raise UsageError(f"the address to listen on, {text!r}, should look like :8080, 127.0.0.1:8080 or [::1]:8080")
    return match["host"].strip("[]"), int(match["port"])


def bind_listener(host: str, port: int, *, listen: bool = True) -> socket.socket:
    """A socket that listens on `host` (a name or an address; "" for every address of both families) and `port`.

    Unless it is to `listen`, whoever serves it has to call `begin_to_listen`: until then connections are refused.
    Raises ListenError, one line that names the address and what is wrong.
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
        else:  # so that nobody else can bind there meanwhile
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    except OSError as error:
        listener.close()
        raise ListenError(f"cannot listen on {where}: {error.strerror}") from error
    return listener


def begin_to_listen(listener: socket.socket) -> None:
    """Accept connections from now on, if `listener` does not yet. Raises ListenError."""
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.listen(BACKLOG)
    except OSError as error:
        where = endpoint(*listener.getsockname()[:2])
        raise ListenError(f"cannot listen on {where}: {error.strerror}") from error


def bind_patiently(host: str, port: int, *, listen: bool = True) -> socket.socket:
    """Call `bind_listener`, again for PATIENCE seconds while a process that was killed may have the address."""
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
