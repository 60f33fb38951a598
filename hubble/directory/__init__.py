"""Which worker holds which gateway: one interface, so that a worker need not know how far the proxy reaches.

A worker joins with an address at which the others reach it, and renews its lease. A registration claims a name, and
keeps it until it is released or its worker's lease has run out. An entry may be stale: a worker that finds it so heals
it.

sqlite         the directory of several workers on one machine
steady         the same, served on from memory while its file cannot be written
redis          the directory of several machines
redis_scripts  its atomic steps, in Lua
redis_server   what is asked of the server itself
choose         the directory that a URL means
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
"""Seconds for which it is known that a name was held."""
LEASE = 10.0
"""Seconds for which a worker is believed to live after it has said so."""


class DirectoryError(HubbleError):
    """The directory could not do what was asked: its file or its server is out of order."""


@dataclass(frozen=True)
class Worker:
    """A worker, and where the others reach it: those of its own machine, `node`, at `address`, the rest at `remote`.

    Either is `unix:PATH`, `tcp:HOST:PORT`, or empty.
    """

    id: str
    address: str
    node: str = ""
    remote: str = ""


@dataclass(frozen=True)
class Registration:
    """A gateway's name, as held by a worker. `owner` is a digest of the agent's instance; "": protocol 0.1 has none."""

    name: str
    worker: str
    epoch: int = 0
    owner: str = ""

    def outdoes(self, other: Registration) -> bool:
        """Whether this is the return of the very agent whose earlier registration `other` is."""
        return bool(self.owner) and self.owner == other.owner and self.epoch > other.epoch


class Directory(ABC):
    """What the workers know of each other; each of them has an object of its own.

    Its calls may wait for a disk or a network, but not for long, and let other greenlets run meanwhile. All of them
    raise DirectoryError.
    """

    on_taken: Callable[[Registration], None]
    """Called, in a greenlet of its own, where the directory can tell that another worker has got one of our names."""

    is_linked: Callable[[str], bool]
    """Tells whether this worker has a live link to another: then that one lives, whatever has become of its lease."""

    def __init__(self) -> None:
        self.on_taken = lambda registration: None
        self.is_linked = lambda worker_id: False

    @property
    def trouble(self) -> str:
        """Why the directory is out of reach now, in a few words; "" if it is not."""
        return ""

    @abstractmethod
    def join(self, worker: Worker, registrations: Iterable[Registration] = ()) -> list[Registration]:
        """The worker is there, with these registrations of its own and no others.

        Of names that others hold it gets those that its registration outdoes; the holders of the rest are returned.
        """

    @abstractmethod
    def renew(self, worker: Worker) -> bool:
        """The worker lives. False if the directory knows less, or more, of it than is so: it must join again."""

    @abstractmethod
    def leave(self, worker_id: str) -> None:
        """The worker is gone, and its registrations with it."""

    @abstractmethod
    def worker(self, worker_id: str) -> Worker | None:
        """The worker with this id, or None."""

    @abstractmethod
    def workers(self) -> list[Worker]:
        """All workers whose leases run."""

    @abstractmethod
    def find(self, name: str) -> Registration | None:
        """Who holds a name, or None."""

    @abstractmethod
    def was_held(self, name: str) -> bool:
        """Whether the name is held, or was until less than MOMENT ago: its gateway may be about to return."""

    @abstractmethod
    def claim(self, registration: Registration, replaces: Registration | None = None) -> Registration | None:
        """Take a name, at once and for one claimant only, if it is free or held exactly as `replaces` says.

        None if it was taken; otherwise its holder.
        """

    @abstractmethod
    def release(self, registration: Registration) -> None:
        """Give a name back; nothing happens if somebody else holds it."""

    def learn(self, registration: Registration) -> None:  # noqa: B027  (most need not be told)
        """Another worker has got a name and tells it itself, since the directory is out of reach."""

    @abstractmethod
    def close(self) -> None:
        """Let go of files and connections."""


def owner_digest(instance: bytes) -> str:
    """What may be stored of an agent's instance, which is a secret."""
    return hashlib.sha256(b"hubble instance" + instance).hexdigest()[:32] if instance else ""


class Lately:
    """Names that were given back less than MOMENT ago."""

    def __init__(self) -> None:
        self._names: OrderedDict[str, float] = OrderedDict()

    def add(self, name: str) -> None:
        """The name was given back just now."""
        now = time.monotonic()
        self._names.pop(name, None)
        self._names[name] = now + MOMENT
        while self._names and next(iter(self._names.values())) < now:
            self._names.popitem(last=False)

    def __contains__(self, name: str) -> bool:
        return self._names.get(name, 0.0) > time.monotonic()


class LocalDirectory(Directory):
    """For a proxy of one worker: everything is here."""

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
            if holder is not None and registration.outdoes(holder):
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
