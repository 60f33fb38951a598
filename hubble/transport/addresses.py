"""Connect to a host name and a port, through the address of the name that answers first."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket as stdlib_socket
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain, zip_longest
from typing import Any, NamedTuple

import gevent
from gevent import socket
from gevent.queue import Empty, Queue

from hubble.base.errors import DialError, OutOfDescriptors
from hubble.base.names import shown
from hubble.transport.endpoint import endpoint
from hubble.transport.hostnames import host_problem
from hubble.transport.resolver import getaddrinfo

# gevent's socket, or the standard one after monkey-patching; both have this interface.
Socket = stdlib_socket.socket
IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
AddressCheck = Callable[[IPAddress], None]

STAGGER = 0.25
"""Seconds until the next address is tried while the one before is still silent (RFC 8305, section 5)."""

KEEPALIVE_IDLE = 60
KEEPALIVE_INTERVAL = 15
KEEPALIVE_PROBES = 4
LONGEST_LIST = 4
NO_DESCRIPTOR = (errno.EMFILE, errno.ENFILE)


class Address(NamedTuple):
    """One address of a name: the arguments of `socket()` and `connect()`."""

    family: int
    sockaddr: tuple[Any, ...]

    @property
    def ip(self) -> IPAddress:
        """The IP address. An IPv4-mapped address (`::ffff:192.0.2.1`) is returned as IPv4."""
        ip = ipaddress.ip_address(self.sockaddr[0])
        return getattr(ip, "ipv4_mapped", None) or ip


_Result = tuple[Address, Socket | str | OutOfDescriptors]
"""The result for one address: a connected socket, the reason of its failure, or the lack of descriptors."""


@contextmanager
def deadline(seconds: float, failure: str) -> Iterator[None]:
    """Raise `DialError(failure)` if the block takes longer than `seconds` in all."""
    timer = gevent.Timeout(seconds)
    with timer:
        try:
            yield
        except gevent.Timeout as expired:
            if expired is not timer:
                raise
            raise DialError(failure) from None


def reason(error: OSError) -> str:
    """Return the text of an operating system's error, without numbers and Python's names."""
    return os.strerror(error.errno) if error.errno else str(error)


def connect(host: str, port: int, timeout: float, check: AddressCheck | None = None) -> Socket:
    """Connect to `host`, a name or an address, over TCP within `timeout` seconds in all.

    Every address of the name is tried, alternating between the two families, `STAGGER` seconds after the previous
    one or as soon as that has failed. The first to answer wins (RFC 8305, except that `getaddrinfo` combines the two
    DNS queries). `check` is called with each address before it is dialed, and may raise `DialError` to forbid it.
    Raises `DialError`, one line with the failure of each address, or its subclass `OutOfDescriptors`.
    """
    where = endpoint(host, port)
    started = time.monotonic()
    with deadline(timeout, f"cannot connect to {where}: the name was not resolved within {timeout:g} s"):
        addresses = resolve(host, port)
    remaining = max(0.0, timeout - (time.monotonic() - started))
    winner, failures = _race(addresses, remaining, check)
    if winner is not None:
        return winner
    for address in addresses:
        failures.setdefault(address, f"no answer within {timeout:g} s")
    raise DialError(f"cannot connect to {where}: {_summary(host, failures)}")


def resolve(host: str, port: int) -> list[Address]:
    """Return every address of `host`, the preferred family first, then alternating. Raises `DialError`."""
    if not 0 < port < 65536:
        raise DialError(f"cannot connect to {host!r}: port {port} is not between 1 and 65535")
    problem = host_problem(host)  # getaddrinfo would take an empty one for this machine
    if problem is not None:
        raise DialError(f"cannot resolve {shown(host)}: the host name {problem}")
    try:
        found = getaddrinfo(host, None, type=socket.SOCK_STREAM)  # one lookup for all ports
    except socket.gaierror as error:
        raise DialError(f"cannot resolve {host!r}: {error.strerror}") from error
    except OSError as error:
        if error.errno in NO_DESCRIPTOR:
            raise OutOfDescriptors(f"cannot resolve {host!r}: {reason(error)}") from error
        raise DialError(f"cannot resolve {host!r}: {error}") from error
    except ValueError as error:  # from the idna codec
        raise DialError(f"cannot resolve {host!r}: {error}") from error
    addresses = list(
        dict.fromkeys(Address(family, (ip, zero or port, *more)) for family, _, _, _, (ip, zero, *more) in found)
    )
    first = [address for address in addresses if address.family == addresses[0].family]
    other = [address for address in addresses if address.family != addresses[0].family]
    return [address for address in chain(*zip_longest(first, other)) if address is not None]


def set_tcp_options(sock: Socket) -> None:
    """Disable Nagle's delay, and detect a silent peer within two minutes by TCP keepalive."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", KEEPALIVE_IDLE),
        ("TCP_KEEPINTVL", KEEPALIVE_INTERVAL),
        ("TCP_KEEPCNT", KEEPALIVE_PROBES),
    ):
        if hasattr(socket, name):  # macOS names the first differently; SO_KEEPALIVE alone suffices there
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _race(
    addresses: list[Address], timeout: float, check: AddressCheck | None
) -> tuple[Socket | None, dict[Address, str]]:
    """Return the first socket to connect, or None, and the failures of the addresses tried before it."""
    results: Queue[_Result] = Queue()
    waiting = deque(addresses)
    running: list[gevent.Greenlet] = []
    failures: dict[Address, str] = {}
    timer = gevent.Timeout(timeout)
    try:
        with timer:
            while len(failures) < len(addresses):
                if waiting:
                    running.append(gevent.spawn(_attempt, waiting.popleft(), check, results))
                try:
                    address, outcome = results.get(timeout=STAGGER if waiting else None)
                except Empty:
                    continue
                if isinstance(outcome, OutOfDescriptors):
                    raise outcome
                if not isinstance(outcome, str):
                    return outcome, failures
                failures[address] = outcome
    except gevent.Timeout as expired:
        if expired is not timer:
            raise
    finally:
        gevent.killall(running)
        _close_losers(results)
    return None, failures


def _attempt(address: Address, check: AddressCheck | None, results: Queue[_Result]) -> None:
    try:
        if check is not None:
            check(address.ip)
        results.put((address, _connect_one(address)))
    except DialError as error:
        results.put((address, str(error)))
    except OSError as error:
        if error.errno in NO_DESCRIPTOR:
            results.put((address, OutOfDescriptors(f"cannot connect to {address.ip}: {reason(error)}")))
        else:
            results.put((address, reason(error)))


def _connect_one(address: Address) -> Socket:
    sock: Socket = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        set_tcp_options(sock)
        sock.connect(address.sockaddr)
    except BaseException:  # also a loser's GreenletExit
        sock.close()
        raise
    return sock


def _close_losers(results: Queue[_Result]) -> None:
    while not results.empty():
        _, outcome = results.get_nowait()
        if isinstance(outcome, Socket):
            outcome.close()


def _summary(host: str, failures: dict[Address, str]) -> str:
    """Return the failures in one line. The address is omitted if it is the `host` that the user wrote."""
    if len(failures) == 1:
        ((address, reason),) = failures.items()
        return reason if str(address.ip) == host else f"{address.ip}: {reason}"
    texts = [f"{address.ip}: {reason}" for address, reason in failures.items()]
    more = f"; and {len(texts) - LONGEST_LIST} more" if len(texts) > LONGEST_LIST else ""
    return "; ".join(texts[:LONGEST_LIST]) + more
