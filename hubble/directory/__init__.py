"""The directory: which worker holds which gateway. One interface serves a single worker, one machine and several.

A worker joins with the address at which the others reach it, and renews its lease. A registration claims a name, and
keeps it until the name is released or the worker's lease expires. An entry may be stale; a worker that finds a stale
entry removes it.

sqlite         the directory of several workers on one machine
steady         the same, but it continues from memory while its file cannot be written
redis          the directory of several machines
redis_scripts  atomic operations on the Redis server, in Lua
redis_server   the connection to the Redis server or its Sentinels
choose         opens the directory for a URL
"""

from __future__ import annotations

import hashlib
import time
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from hubble.base.errors import HubbleError

MOMENT = 3.0
"""Seconds for which the directory remembers that a name was held."""
LEASE = 10.0
"""Seconds after its last renewal until a worker counts as dead."""


class DirectoryError(HubbleError):
    """The directory's file or server is unavailable."""


@dataclass(frozen=True)
class Worker:
    """A worker and its addresses: `address` for workers of its own machine, `node`, and `remote` for all others.

    Each address is `unix:PATH`, `tcp:HOST:PORT`, or empty.
    """

    id: str
    address: str
    node: str = ""
    remote: str = ""


@dataclass(frozen=True)
class Registration:
    """A gateway's name, held by a worker. `owner` is a digest of the agent's instance, or "" for protocol 0.1."""

    name: str
    worker: str
    epoch: int = 0
    owner: str = ""

    def supersedes(self, other: Registration) -> bool:
        """Return whether `other` is an earlier registration of the same agent."""
        return bool(self.owner) and self.owner == other.owner and self.epoch > other.epoch


class Directory(ABC):
    """The shared knowledge of workers and registrations; each worker has its own object.

    Calls may wait briefly for a disk or a network, and let other greenlets run meanwhile. All calls may raise
    DirectoryError.
    """

    on_taken: Callable[[Registration], None]
    """Called in a separate greenlet with the registration by which another worker has taken a name of this worker."""

    is_linked: Callable[[str], bool]
    """Returns whether this worker has a live link to another, which then lives even if its lease has expired."""

    def __init__(self) -> None:
        self.on_taken = lambda registration: None
        self.is_linked = lambda worker_id: False

    @property
    def trouble(self) -> str:
        """Return in a few words why the directory is unavailable, or "" if it is available."""
        return ""

    @abstractmethod
    def join(self, worker: Worker, registrations: Iterable[Registration] = ()) -> list[Registration]:
        """Add the worker with exactly these registrations; return the holders of the names that it did not get.

        A name that another worker holds is taken from it only if the new registration supersedes the holder's.
        """

    @abstractmethod
    def renew(self, worker: Worker) -> bool:
        """Renew the worker's lease. Return False if its entries are incomplete or wrong: it must then join again."""

    @abstractmethod
    def leave(self, worker_id: str) -> None:
        """Remove a worker and its registrations."""

    @abstractmethod
    def worker(self, worker_id: str) -> Worker | None:
        """Return the worker with this id, or None."""

    @abstractmethod
    def workers(self) -> list[Worker]:
        """Return all workers whose leases have not expired."""

    @abstractmethod
    def find(self, name: str) -> Registration | None:
        """Return the registration of a name, or None."""

    @abstractmethod
    def was_held(self, name: str) -> bool:
        """Return whether the name is held, or was within the last MOMENT: its gateway may be about to reconnect."""

    @abstractmethod
    def claim(self, registration: Registration, replaces: Registration | None = None) -> Registration | None:
        """Claim a name atomically if it is free or its registration equals `replaces`.

        Return None on success, otherwise the current registration.
        """

    @abstractmethod
    def release(self, registration: Registration) -> None:
        """Release a name; do nothing if another registration holds it."""

    def learn(self, registration: Registration) -> None:  # noqa: B027  (most directories need no announcements)
        """Record a registration that another worker announces directly while the directory is unavailable."""

    @abstractmethod
    def close(self) -> None:
        """Close files and connections."""


def owner_digest(instance: bytes) -> str:
    """Return the digest of an agent's instance, which is secret, for storing; "" for an empty instance."""
    return hashlib.sha256(b"hubble instance" + instance).hexdigest()[:32] if instance else ""


class Lately:
    """Names that were released within the last MOMENT."""

    def __init__(self) -> None:
        self._names: OrderedDict[str, float] = OrderedDict()

    def add(self, name: str) -> None:
        """Record that a name has just been released."""
        now = time.monotonic()
        self._names.pop(name, None)
        self._names[name] = now + MOMENT
        while self._names and next(iter(self._names.values())) < now:
            self._names.popitem(last=False)

    def __contains__(self, name: str) -> bool:
        return self._names.get(name, 0.0) > time.monotonic()


class LocalDirectory(Directory):
    """The directory of a proxy with one worker, in memory."""

    def __init__(self) -> None:
        super().__init__()
        self._workers: dict[str, Worker] = {}
        self._registrations: dict[str, Registration] = {}
        self._lately = Lately()

    def join(self, worker: Worker, registrations: Iterable[Registration] = ()) -> list[Registration]:
        self.leave(worker.id)
        self._workers[worker.id] = worker
        refused = []
        for registration in registrations:
            holder = self.claim(registration)
            if holder is not None and registration.supersedes(holder):
                holder = self.claim(registration, holder)
            if holder is not None:
                refused.append(holder)
        return refused

    def renew(self, worker: Worker) -> bool:
        return worker.id in self._workers

    def leave(self, worker_id: str) -> None:
        self._workers.pop(worker_id, None)
        for name in [name for name, held in self._registrations.items() if held.worker == worker_id]:
            self._lately.add(name)
        self._registrations = {name: held for name, held in self._registrations.items() if held.worker != worker_id}

    def worker(self, worker_id: str) -> Worker | None:
        return self._workers.get(worker_id)

    def workers(self) -> list[Worker]:
        return list(self._workers.values())

    def find(self, name: str) -> Registration | None:
        return self._registrations.get(name)

    def was_held(self, name: str) -> bool:
        return name in self._registrations or name in self._lately

    def claim(self, registration: Registration, replaces: Registration | None = None) -> Registration | None:
        holder = self._registrations.get(registration.name)
        if holder is not None and holder != replaces:
            return holder
        self._registrations[registration.name] = registration
        return None

    def release(self, registration: Registration) -> None:
        if self._registrations.get(registration.name) == registration:
            del self._registrations[registration.name]
            self._lately.add(registration.name)

    def close(self) -> None:
        pass
