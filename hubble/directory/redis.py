"""The directory of several machines: a Redis server, and a complete copy in each worker.

Lookups use the copy, which the server's notifications keep up to date. While the server is unreachable, the copy stays
in use. Names claimed meanwhile are recorded in the copy alone, and written to the server when the worker joins again.
After a reconnection the worker reads all entries again, because it has missed notifications.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

import gevent
import redis
from gevent.event import Event

from hubble.base.keepalive import keep_running
from hubble.directory import LEASE, Directory, Lately, Registration, Worker
from hubble.directory import redis_scripts as scripts
from hubble.directory.redis_server import PATIENCE, client, shown

log = logging.getLogger(__name__)

T = TypeVar("T")

RECONNECT_PAUSE = 0.5
QUIET, SILENT = 5.0, 10.0
"""Seconds without a notification after which the server is pinged, and after which it counts as unreachable."""
SCAN = 1000
"""Names that one request reads."""


class _Unreachable(Exception):
    """The server is unreachable."""


class _Entry(NamedTuple):
    """A registration and its version on the server; 0 if the server does not have it yet."""

    registration: Registration
    version: int = 0


class RedisDirectory(Directory):
    """A directory on a Redis server; `url` as for `redis_server.client`. Calls take at most a second and never raise.

    Raises UsageError if the URL is invalid. If the server is unreachable, the object retries in the background.
    """

    def __init__(self, url: str, *, lease: float = LEASE) -> None:
        super().__init__()
        self._redis: Any = client(url)  # redis declares no useful result types
        self._where = shown(url)
        self._lease = lease
        self._trouble = "not connected yet"
        self._closed = False
        self._names: dict[str, _Entry] = {}
        self._workers: dict[str, Worker] = {}
        self._mine: dict[str, _Entry] = {}
        self._lately = Lately()
        self._me = ""
        self._unconfirmed: set[str] = set()
        """Workers in the copy that the server does not have: it lost its data, or they cannot reach it."""
        self._confirm_by = 0.0
        self._must_join = False
        self._claiming = 0
        self._failed = Event()
        self._claim, self._release, self._renew = (
            self._redis.register_script(text) for text in (scripts.CLAIM, scripts.RELEASE, scripts.RENEW)
        )
        self._join, self._tell, self._drop_there, self._leave = (
            self._redis.register_script(text) for text in (scripts.JOIN, scripts.TELL, scripts.DROP, scripts.LEAVE)
        )
        self._ready = Event()
        self._follower = keep_running("following the directory", self._follow)
        self._ready.wait(PATIENCE)

    def __repr__(self) -> str:
        return f"<RedisDirectory {self._where}>"

    @property
    def trouble(self) -> str:
        return self._trouble and "the directory is unreachable"  # /readyz shows this to any client: no details

    def join(self, worker: Worker, registrations: Iterable[Registration] = ()) -> list[Registration]:
        wanted = list(registrations)
        self._me = worker.id
        self._workers[worker.id] = worker
        names = {registration.name for registration in wanted}
        for entry in [entry for name, entry in self._mine.items() if name not in names]:
            self._drop(entry.registration)
        try:
            entries = self._tell_all(worker, wanted)
        except _Unreachable:
            self._must_join = True
            for registration in wanted:
                self._keep(_Entry(registration), mine=True)
            return []
        self._must_join = False
        for entry in entries:
            self._keep(entry, mine=entry.registration.worker == worker.id)
        return [entry.registration for entry in entries if entry.registration.worker != worker.id]

    def _tell_all(self, worker: Worker, wanted: list[Registration]) -> list[_Entry]:
        """Join, write all registrations to the server, and return the entry of each name. Raises _Unreachable."""
        fields = json.dumps([worker.address, worker.node, worker.remote])
        held = self._ask(lambda: self._join(args=[worker.id, fields]))
        entries = []
        for some in _portions(wanted):
            facts = [fact for one in some for fact in (one.name, str(one.epoch), one.owner)]
            flat = self._ask(partial(self._tell, args=[worker.id, *facts]))
            entries += [_entry(name, text) for name, text in zip(flat[::2], flat[1::2], strict=True)]
        claimed_meanwhile = self._mine.keys()
        unwanted = sorted(set(held) - {registration.name for registration in wanted} - claimed_meanwhile)
        for names in _portions(unwanted):
            self._ask(partial(self._drop_there, args=[worker.id, *names]))
        return entries

    def renew(self, worker: Worker) -> bool:
        if self._trouble:
            return True  # the worker joins again once the server is reachable
        if self._unconfirmed and time.monotonic() > self._confirm_by:
            for worker_id in [one for one in self._unconfirmed if not self.is_linked(one)]:
                self._forget_worker(worker_id)
        known = "" if self._claiming else str(len(self._mine))
        try:
            renewed = self._ask(lambda: self._renew(args=[worker.id, self._lease, known]))
        except _Unreachable:
            return True
        return bool(renewed) and not self._must_join

    def leave(self, worker_id: str) -> None:
        self._forget_worker(worker_id)
        while self._try(lambda: self._leave(args=[worker_id])):
            pass  # a portion at a time

    def worker(self, worker_id: str) -> Worker | None:
        found = self._workers.get(worker_id)
        if found is None and (text := self._try(lambda: self._redis.hget(scripts.WORKERS, worker_id))):
            found = self._workers[worker_id] = _worker(worker_id, text)
        return found

    def workers(self) -> list[Worker]:
        return sorted(self._workers.values(), key=lambda worker: worker.id)

    def find(self, name: str) -> Registration | None:
        entry = self._names.get(name)
        if entry is None and (text := self._try(lambda: self._redis.hget(scripts.NAMES, name))):
            entry = _entry(name, text)  # the notification has not arrived yet
        return entry.registration if entry else None

    def was_held(self, name: str) -> bool:
        return name in self._lately or self.find(name) is not None

    def claim(self, registration: Registration, replaces: Registration | None = None) -> Registration | None:
        known = self._names.get(registration.name)
        if known and known.registration.worker in self._unconfirmed and known.registration != replaces:
            return known.registration  # the server has lost the entry, but its worker lives
        self._claiming += 1
        try:
            outcome, text = self._ask(lambda: self._claim(args=_fields(registration) + _fields(replaces)))
        except _Unreachable:
            outcome, text = "unknown worker", ""
        finally:
            self._claiming -= 1
        if outcome == "unknown worker":
            return self._claim_here(registration, replaces)
        entry = _entry(registration.name, text)
        self._keep(entry, mine=outcome == "claimed")
        return entry.registration if outcome == "held" else None

    def release(self, registration: Registration) -> None:
        self._drop(registration)
        self._try(lambda: self._release(args=_fields(registration)))

    def learn(self, registration: Registration) -> None:
        known = self._names.get(registration.name)
        is_needed = self._trouble or registration.worker in self._unconfirmed
        if is_needed and (known is None or registration.supersedes(known.registration)):
            self._names[registration.name] = _Entry(registration)
            if self._mine.pop(registration.name, None) is not None:
                gevent.spawn(self.on_taken, registration)

    def close(self) -> None:
        self._closed = True
        self._follower.kill()
        self._redis.close()

    # The copy.

    def _claim_here(self, registration: Registration, replaces: Registration | None) -> Registration | None:
        """Decide a claim by the copy alone while the server is unreachable; the worker joins again later."""
        holder = self._names.get(registration.name)
        if holder is not None and holder.registration != replaces:
            return holder.registration
        self._must_join = True
        self._keep(_Entry(registration), mine=True)
        return None

    def _keep(self, entry: _Entry, *, mine: bool = False) -> None:
        name = entry.registration.name
        self._names[name] = entry
        if mine:
            self._mine[name] = entry
        else:
            self._mine.pop(name, None)

    def _drop(self, registration: Registration) -> None:
        self._lately.add(registration.name)
        for entries in (self._names, self._mine):
            entry = entries.get(registration.name)
            if entry is not None and entry.registration == registration:
                del entries[registration.name]

    def _forget_worker(self, worker_id: str) -> None:
        self._unconfirmed.discard(worker_id)
        self._workers.pop(worker_id, None)
        for entries in (self._names, self._mine):
            for name in [name for name, entry in entries.items() if entry.registration.worker == worker_id]:
                del entries[name]
                self._lately.add(name)

    def _learn(self, text: str) -> None:
        """Apply a notification to the copy."""
        kind, key, entry, version = json.loads(text)
        if kind == "worker":
            if entry:
                if key in self._unconfirmed:
                    self._forget_worker(key)  # notifications of its current names follow
                self._workers[key] = _worker(key, entry)
            elif key in self._workers and self.is_linked(key):
                log.warning("worker %s cannot reach the directory at %s; keeping its names", key, self._where)
                self._unconfirmed.add(key)
            else:
                self._workers.pop(key, None)
            return
        known = self._names.get(key)
        if known is not None and version <= known.version:
            return  # the copy is newer, from the answer to a request
        mine = self._mine.get(key)
        if not entry:
            if known is not None and known.registration.worker in self._unconfirmed:
                return  # the lease has expired, but the worker lives
            if mine is None:  # the next join writes a lost name of this worker again
                self._names.pop(key, None)
                self._lately.add(key)
            return
        new = _entry(key, entry)
        if mine is None and new.registration.worker == self._me:
            return  # released since, or the answer to the claim has not arrived yet
        self._names[key] = new
        if mine is not None and new.registration.worker != mine.registration.worker:
            del self._mine[key]
            gevent.spawn(self.on_taken, new.registration)

    # The server.

    def _ask(self, question: Callable[[], Any]) -> Any:
        """Return the server's answer. Raises _Unreachable, at once if the server is known to be, or after PATIENCE."""
        if self._trouble or self._closed:
            raise _Unreachable
        try:
            with gevent.Timeout(PATIENCE, redis.TimeoutError("no answer")):
                return question()
        except (redis.RedisError, OSError, ValueError) as error:  # ValueError: closed during the request
            if not self._closed:
                self._lose(error)
            raise _Unreachable from error

    def _try(self, question: Callable[[], Any]) -> Any:
        """Return the server's answer, or None if it is unreachable."""
        try:
            return self._ask(question)
        except _Unreachable:
            return None

    def _lose(self, error: Exception) -> None:
        if str(error) != self._trouble:
            log.error("the directory at %s is unreachable: %s; continuing from memory", self._where, error)
        self._trouble = str(error) or "unreachable"
        self._must_join = True
        self._failed.set()

    def _follow(self) -> None:
        """Keep the copy up to date until killed."""
        while True:
            self._failed.clear()
            try:
                with self._redis.pubsub(ignore_subscribe_messages=True) as notifications:
                    self._follow_once(notifications)
            except (redis.RedisError, OSError, ValueError) as error:
                self._lose(error)
            self._ready.set()
            gevent.sleep(RECONNECT_PAUSE)

    def _follow_once(self, notifications: Any) -> None:
        with gevent.Timeout(PATIENCE, redis.TimeoutError("no answer")):
            notifications.subscribe(scripts.CHANGES)
        self._read_all()
        self._redis.incr(scripts.VERSION)  # a server that refuses writes counts as unreachable
        if self._trouble:
            log.info("connected to the directory at %s", self._where)
        self._trouble = ""
        self._ready.set()
        received = pinged = time.monotonic()
        while not self._failed.is_set():
            message = notifications.get_message(timeout=1.0)
            now = time.monotonic()
            if message is not None:
                received = now
                if message["type"] == "message":
                    self._learn(message["data"])
            elif now - received > SILENT:
                raise redis.TimeoutError("no answer to a ping")
            elif now - max(received, pinged) > QUIET:
                pinged = now
                notifications.ping()

    def _read_all(self) -> None:
        """Read all entries again. Notifications of changes meanwhile are applied afterwards.

        A server that was restarted may have lost its data. So entries of workers that it does not have stay for the
        time of a lease, until these workers have joined again.
        """
        names: dict[str, _Entry] = {}
        cursor = None
        while cursor != 0:
            cursor, page = self._redis.hscan(scripts.NAMES, cursor or 0, count=SCAN)
            names.update((name, _entry(name, text)) for name, text in page.items())
        workers = self._redis.hgetall(scripts.WORKERS)
        for name, entry in self._mine.items():
            known = names.get(name)
            is_known = known is not None and known.registration == entry.registration
            self._mine[name] = known if known is not None and is_known else _Entry(entry.registration)
        mine = {entry.registration.worker for entry in self._mine.values()}
        self._unconfirmed = self._workers.keys() - workers.keys() - mine
        self._confirm_by = time.monotonic() + self._lease
        kept = {
            name: _Entry(entry.registration)
            for name, entry in self._names.items()
            if entry.registration.worker in self._unconfirmed
        }
        self._names = {**kept, **self._mine, **names}
        unconfirmed = {worker_id: self._workers[worker_id] for worker_id in self._unconfirmed}
        self._workers = unconfirmed | {worker_id: _worker(worker_id, text) for worker_id, text in workers.items()}


def _portions(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[start : start + scripts.PORTION] for start in range(0, len(items), scripts.PORTION))


def _fields(registration: Registration | None) -> list[str]:
    if registration is None:
        return []
    return [registration.name, registration.worker, str(registration.epoch), registration.owner]


def _entry(name: str, text: str) -> _Entry:
    worker, epoch, owner, version = json.loads(text)
    return _Entry(Registration(name, worker, int(epoch), owner), version)


def _worker(worker_id: str, text: str) -> Worker:
    address, node, remote = json.loads(text)
    return Worker(worker_id, address, node, remote)
