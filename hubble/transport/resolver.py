"""Resolve names in a dedicated thread pool, so that names that do not resolve delay no other work.

Only the system's `getaddrinfo` uses the machine's whole configuration: /etc/hosts, search lists, nsswitch.conf, mDNS, a
resolv.conf that changes with the network. c-ares and dnspython support a part of it, so they are not used. But
`getaddrinfo` blocks its thread until it gives up, after 10 s or more, and cannot be canceled. Therefore:

- an address needs no thread;
- concurrent lookups of the same name share one call;
- the pool has many threads, of which some are reserved for names that were resolved recently;
- a waiting lookup is dropped when its last caller gives up.
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
"""Each running lookup holds a thread and a descriptor. At most a quarter of the allowed descriptors is used."""
MOST_WAITING = 1000
"""Names that may wait for a thread. Further lookups fail."""
KNOWN = 4096
"""Recently resolved names that are remembered."""
MOST_OF_OTHERS = 8
"""Threads for calls other than getaddrinfo, such as reverse lookups."""
IDLE = 30.0
"""Seconds after which an idle thread ends."""

Found = list[tuple[int, int, int, str, tuple[Any, ...]]]
Arguments = tuple[Any, ...]


class _Lookup:
    """One call of getaddrinfo, and the number of callers that wait for it."""

    def __init__(self) -> None:
        self.waiters = 0
        self.result: AsyncResult[Found] = AsyncResult()


class Lookups:
    """Bounds the lookups of a process. Threads call `getaddrinfo`."""

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
        """Lookups that wait for a thread: of unknown names, and of known names."""
        self._running = 0

    def lookup(self, *arguments: Any) -> Found:
        """Call getaddrinfo with host, port, family, type, protocol and flags. Return its result or raise its error."""
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
        """Run getaddrinfo in a thread. Return its result or its error."""
        try:
            return self._getaddrinfo(*arguments)
        except Exception as error:  # returned, because the hub would print an error raised in a thread
            return error

    def _done(self, arguments: Arguments, lookup: _Lookup, outcome: AsyncResult[Found | Exception]) -> None:
        """Pass the result to the callers. Runs in the hub, so it must not block."""
        self._running -= 1
        self._lookups.pop(arguments, None)
        result = outcome.value if outcome.exception is None else outcome.exception
        if isinstance(result, BaseException):
            lookup.result.set_exception(result)
        else:
            self._known.add(arguments[0])
            lookup.result.set(result)
        self._start()


class Resolver(ThreadResolver):  # type: ignore[misc]  # the library has no types
    """The resolver of gevent's sockets, and so of all libraries in the process, once `install` has been called."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = ThreadPool(MOST_OF_OTHERS, idle_task_timeout=IDLE)

    def getaddrinfo(
        self, host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
    ) -> Found:
        """Return the same as socket.getaddrinfo."""
        return getaddrinfo(host, port, family, type, proto, flags)


_lookups: WeakKeyDictionary[Any, Lookups] = WeakKeyDictionary()
"""The lookups of each hub. Each thread with a hub has its own."""


def getaddrinfo(host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0) -> Found:
    """Return the same as socket.getaddrinfo, within the bounds of this module. Raises the same errors."""
    try:
        return _socket.getaddrinfo(host, port, family, type, proto, flags | socket.AI_NUMERICHOST)
    except socket.gaierror as error:
        if error.errno != socket.EAI_NONAME or flags & socket.AI_NUMERICHOST or ":" in str(host):
            raise  # a name has no colon: this is an address of an interface that does not exist
    hub = gevent.get_hub()
    lookups = _lookups.get(hub)
    if lookups is None:
        lookups = _lookups[hub] = Lookups()
    return lookups.lookup(host, port, family, type, proto, flags)


def is_address(host: str) -> bool:
    """Return whether a host is an address, in any form that the system accepts. An address needs no lookup."""
    try:
        _socket.getaddrinfo(host, None, 0, socket.SOCK_STREAM, 0, socket.AI_NUMERICHOST)
    except (OSError, ValueError):
        return False
    return True


def install() -> None:
    """Have this thread's hub resolve names through this module, for libraries too."""
    gevent.get_hub().resolver = Resolver()
