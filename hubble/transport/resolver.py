"""Looking names up in threads of its own, so that names which do not answer stop nothing else.

The system's `getaddrinfo` alone knows all that a machine may have been told: /etc/hosts, search lists, nsswitch.conf,
mDNS, a resolv.conf that changes with the network. c-ares and dnspython know a part of it, so they are not used. But
`getaddrinfo` blocks its thread until it gives up, 10 s and more, and cannot be cancelled. Hence:

- an address is no name: it needs no thread;
- each name is looked up once at a time, for all who wait for it;
- the threads are many, and nothing else uses them; some are only for names that were found lately;
- a lookup that has not begun is dropped when nobody waits for it any more.
"""

from __future__ import annotations

import _socket
import resource
import socket
from collections import OrderedDict
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import gevent
from gevent.event import AsyncResult
from gevent.resolver.thread import Resolver as ThreadResolver
from gevent.threadpool import ThreadPool

from hubble.base.recent import RecentSet

MOST_THREADS = 256
"""A lookup under way holds one, and a descriptor: there are never more than a quarter of the descriptors allowed."""
MOST_WAITING = 1000
"""Names that wait for a thread; a lookup beyond fails."""
KNOWN = 4096
"""Names that are remembered as found lately."""
MOST_OF_OTHERS = 8
"""Threads for calls other than getaddrinfo, such as from an address to its name."""
IDLE = 30.0
"""Seconds after which an idle thread ends."""

Found = list[tuple[int, int, int, str, tuple[Any, ...]]]
Arguments = tuple[Any, ...]


class _Lookup:
    """One call of getaddrinfo, and how many wait for what it says."""

    def __init__(self) -> None:
        self.waiters = 0
        self.result: AsyncResult[Found] = AsyncResult()


class Lookups:
    """Bounds the lookups of a process. `getaddrinfo` is what a thread calls."""

    def __init__(
        self, most: int = 0, most_waiting: int = MOST_WAITING, getaddrinfo: Callable[..., Found] = _socket.getaddrinfo
    ) -> None:
        self._most = most or max(8, min(MOST_THREADS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4))
        self._most_of_unknown = self._most - max(1, self._most // 4)
        self._most_waiting = most_waiting
        self._getaddrinfo = getaddrinfo
        self._pool = ThreadPool(self._most, idle_task_timeout=IDLE)
        self._known = RecentSet(KNOWN)
        self._lookups: dict[Arguments, _Lookup] = {}
        self._waiting: tuple[OrderedDict[Arguments, _Lookup], OrderedDict[Arguments, _Lookup]] = (
            OrderedDict(),
            OrderedDict(),
        )
        """Those without a thread yet: of unknown names, and of known ones."""
        self._running = 0

    def lookup(self, *arguments: Any) -> Found:
        """Return what getaddrinfo says to host, port, family, type, protocol and flags. Raises what it raises."""
        lookup = self._lookups.get(arguments) or self._new(arguments)
        lookup.waiters += 1
        try:
            found: Found = lookup.result.get()
            return found
        finally:
            lookup.waiters -= 1
            if not lookup.waiters:
                self._drop(arguments)

    def _new(self, arguments: Arguments) -> _Lookup:
        if sum(map(len, self._waiting)) >= self._most_waiting:
            raise socket.gaierror(socket.EAI_AGAIN, "too many names are being looked up")
        lookup = self._lookups[arguments] = _Lookup()
        self._waiting[arguments[0] in self._known][arguments] = lookup
        self._start()
        return lookup

    def _drop(self, arguments: Arguments) -> None:
        for waiting in self._waiting:
            if waiting.pop(arguments, None) is not None:
                del self._lookups[arguments]

    def _start(self) -> None:
        unknown, known = self._waiting
        while self._running < self._most and known:
            self._begin(*known.popitem(last=False))
        while self._running < self._most_of_unknown and unknown:
            self._begin(*unknown.popitem(last=False))

    def _begin(self, arguments: Arguments, lookup: _Lookup) -> None:
        self._running += 1
        self._pool.spawn(self._call, arguments).rawlink(lambda outcome: self._done(arguments, lookup, outcome))

    def _call(self, arguments: Arguments) -> Found | Exception:
        """In a thread."""
        try:
            return self._getaddrinfo(*arguments)
        except Exception as error:  # as a value: the hub would print what a thread raises
            return error

    def _done(self, arguments: Arguments, lookup: _Lookup, outcome: AsyncResult[Found | Exception]) -> None:
        """In the hub: it must not block."""
        self._running -= 1
        self._lookups.pop(arguments, None)
        said = outcome.value if outcome.exception is None else outcome.exception
        if isinstance(said, BaseException):
            lookup.result.set_exception(said)
        else:
            self._known.add(arguments[0])
            lookup.result.set(said)
        self._start()


class Resolver(ThreadResolver):  # type: ignore[misc]  # the library has no types
    """What gevent's sockets, and with them all libraries of the process, ask once `install` was called."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = ThreadPool(MOST_OF_OTHERS, idle_task_timeout=IDLE)

    def getaddrinfo(
        self, host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
    ) -> Found:
        """Return what socket.getaddrinfo does."""
        return getaddrinfo(host, port, family, type, proto, flags)


_lookups: WeakKeyDictionary[Any, Lookups] = WeakKeyDictionary()
"""By the hub: each thread that has one has its own."""


def getaddrinfo(host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0) -> Found:
    """Return what socket.getaddrinfo does, within the bounds of this module. Raises what it does."""
    try:
        return _socket.getaddrinfo(host, port, family, type, proto, flags | socket.AI_NUMERICHOST)
    except socket.gaierror as error:
        if error.errno != socket.EAI_NONAME or flags & socket.AI_NUMERICHOST or ":" in str(host):
            raise  # a colon is in no name: it is an address of an interface that is not there
    hub = gevent.get_hub()
    lookups = _lookups.get(hub)
    if lookups is None:
        lookups = _lookups[hub] = Lookups()
    return lookups.lookup(host, port, family, type, proto, flags)


def is_address(host: str) -> bool:
    """Return whether a host is an address, which needs no lookup, in any form that the system takes for one."""
    try:
        _socket.getaddrinfo(host, None, 0, socket.SOCK_STREAM, 0, socket.AI_NUMERICHOST)
    except (OSError, ValueError):
        return False
    return True


def install() -> None:
    """Have this thread's hub resolve names here, for libraries as well."""
    gevent.get_hub().resolver = Resolver()
