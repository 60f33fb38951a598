"""The agents registered at this worker and at others, and the rules for a name that is already taken."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Iterator
from typing import Any

import gevent

from hubble.base.keyedlock import KeyedLock
from hubble.directory import Directory, DirectoryError, Registration, Worker, owner_digest
from hubble.mesh.mesh import Mesh, WorkerUnreachable
from hubble.mesh.peer import WorkerPeer
from hubble.protocol.messages import Refusal
from hubble.proxy.gateways.gateway import Gateway
from hubble.proxy.subscriber import Subscriber
from hubble.transport.peer import Peer

log = logging.getLogger(__name__)

PATIENCE = 3.0
"""Seconds for which a session waits for a gateway that is reconnecting; agents wait as long (hubble/agent/links.py)."""
MOST_WAITING = 1_000
POLL = 0.05
PROBE_TIMEOUT = 3.0
"""Seconds within which the holder of a name must answer a ping when another agent requests the name."""


class NameTaken(Exception):
    """A name is not available; `code` and the text give the reason."""

    def __init__(self, code: Refusal, text: str) -> None:
        super().__init__(text)
        self.code = code


class Gateways:
    """The registered agents by name; `directory` is authoritative for all workers, `mesh` reaches the other workers.

    A reconnecting agent (the same instance, a later epoch) takes its name back at once. Another agent gets the name
    only if the holder's link does not answer: a silent swap would be a hijack.
    """

    def __init__(
        self,
        me: Worker,
        directory: Directory,
        mesh: Mesh | None = None,
        subscriber: Subscriber | None = None,
        *,
        probe_timeout: float = PROBE_TIMEOUT,
    ) -> None:
        self._me = me
        self._directory = directory
        self._mesh = mesh
        self._probe_timeout = probe_timeout
        self._by_name: dict[str, Gateway] = {}
        self._subscriber = subscriber or Subscriber()
        self._registering = KeyedLock()
        self._waiting = 0
        directory.on_taken = self.taken
        if mesh is not None:
            mesh.methods |= {"is_alive": self._is_alive, "evict": self._evict_for_other, "hear": self._learn}

    def __iter__(self) -> Iterator[Gateway]:
        return iter(list(self._by_name.values()))

    def __len__(self) -> int:
        return len(self._by_name)

    # Finding.

    def get(self, name: str) -> Gateway | None:
        """Return the gateway `name` if it is at this worker, or None."""
        return self._by_name.get(name)

    def find(self, name: str) -> Peer | None:
        """Return the gateway if it is at this worker, else the worker that holds it, or None if it is offline."""
        gateway = self._by_name.get(name)
        if gateway is not None or self._mesh is None:
            return gateway
        try:
            registration = self._directory.find(name)
            if registration is None or registration.worker == self._me.id:
                return None
            return self._mesh.peer(registration.worker)
        except (DirectoryError, WorkerUnreachable) as error:
            log.info("gateway %s is unreachable: %s", name, error)
            return None

    def find_patiently(self, name: str, since: float) -> Peer | None:
        """Find as `find` does, but wait for a gateway that was registered recently until PATIENCE after `since`.

        `since` is by the monotonic clock. At most MOST_WAITING calls wait at a time; further calls do not wait.
        """
        peer = self.find(name)
        if peer is not None or self._waiting >= MOST_WAITING or not self._was_held(name):
            return peer
        self._waiting += 1
        try:
            while peer is None and time.monotonic() < since + PATIENCE:
                gevent.sleep(POLL + POLL * self._waiting / 100)  # bounds the lookups a second of all waiting calls
                peer = self.find(name)
            return peer
        finally:
            self._waiting -= 1

    def _was_held(self, name: str) -> bool:
        try:
            return self._directory.was_held(name)
        except DirectoryError:
            return False

    def remove_stale(self, name: str, peer: WorkerPeer) -> None:
        """Remove a stale entry from the directory: the worker `peer` does not have the gateway."""
        try:
            registration = self._directory.find(name)
            if registration is not None and registration.worker == peer.worker:
                self._directory.release(registration)
        except DirectoryError as error:
            log.warning("gateway %s: cannot remove its stale entry: %s", name, error)

    # Registering.

    def register(self, newcomer: Gateway) -> None:
        """Give the newcomer its name; may wait until the holder answers a ping. Raises NameTaken."""
        if not newcomer.instance:  # protocol 0.1 has no epoch, but each registration needs a distinct one
            newcomer.epoch = time.time_ns() // 1000
        with self._registering.hold(newcomer.name):
            try:
                replaced = self._take(newcomer)
            except DirectoryError as error:
                log.error("gateway %s not registered: %s", newcomer.name, error, extra={"gateway": newcomer.name})
                raise NameTaken(Refusal.BUSY, "the proxy's directory is unavailable; try again") from error
        if replaced is not None and replaced.worker != self._me.id:
            gevent.spawn(self._request_eviction, replaced)
        if self._mesh is not None and self._directory.trouble:
            facts = dataclasses.asdict(self._registration(newcomer))
            gevent.spawn(self._mesh.call_all, "hear", registration=facts)

    def _take(self, newcomer: Gateway) -> Registration | None:
        """Claim the name in the directory; return the registration that it replaces, or None."""
        registration = self._registration(newcomer)
        replaces: Registration | None = None
        while True:
            holder = self._by_name.get(newcomer.name)
            if holder is not None:
                self._displace(holder, newcomer)
                continue
            elsewhere = self._directory.claim(registration, replaces)
            if elsewhere is None:
                break
            self._displace_elsewhere(elsewhere, registration, newcomer)
            replaces = elsewhere
        self._by_name[newcomer.name] = newcomer
        newcomer.since = time.time()
        self._subscriber.registered(newcomer)
        return replaces

    def is_return(self, newcomer: Gateway) -> bool:
        """Return whether an earlier registration of the same agent holds the name, at this worker or another."""
        try:
            holder = self._directory.find(newcomer.name)
        except DirectoryError:
            return False
        return holder is not None and self._registration(newcomer).supersedes(holder)

    def unregister(self, gateway: Gateway, why: str) -> bool:
        """Unregister a gateway whose link is gone; return whether it still held its name."""
        if self._by_name.get(gateway.name) is not gateway:
            return False
        del self._by_name[gateway.name]
        self._subscriber.unregistered(gateway, why)
        try:
            self._directory.release(self._registration(gateway))
        except DirectoryError as error:
            log.warning("gateway %s: cannot release its name in the directory: %s", gateway.name, error)
        return True

    def registrations(self) -> Iterator[Registration]:
        """Return the registrations of the gateways at this worker, as the directory should have them."""
        return (self._registration(gateway) for gateway in self)

    def taken(self, holder: Registration) -> None:
        """Evict the gateway of this worker whose name now belongs to `holder`, at another worker."""
        gateway = self._by_name.get(holder.name)
        if gateway is not None and holder.worker != self._me.id:
            self._evict(gateway, f"its name was registered at worker {holder.worker}")

    def _registration(self, gateway: Gateway) -> Registration:
        return Registration(gateway.name, self._me.id, gateway.epoch, owner_digest(gateway.instance))

    def _displace(self, holder: Gateway, newcomer: Gateway) -> None:
        """Evict the holder of a name, which is at this worker, or refuse the newcomer. Raises NameTaken."""
        if holder.instance and holder.instance == newcomer.instance:
            if newcomer.epoch <= holder.epoch:
                raise NameTaken(Refusal.STALE, "the agent has registered again since")
            self._evict(holder, "the agent reconnected")
        elif holder.link.probe(self._probe_timeout):
            raise _taken(newcomer)
        else:
            self._evict(
                holder, f"no answer to a ping within {self._probe_timeout:g} s when another agent requested the name"
            )

    def _displace_elsewhere(self, holder: Registration, registration: Registration, newcomer: Gateway) -> None:
        """Return if the newcomer may claim the name from its holder at another worker. Raises NameTaken."""
        if holder.worker == self._me.id or self._mesh is None:
            return  # a stale entry of a lost link
        if holder.owner and holder.owner == registration.owner:
            if registration.epoch <= holder.epoch:
                raise NameTaken(Refusal.STALE, "the agent has registered again since")
            return
        try:
            alive = self._mesh.call(
                holder.worker, "is_alive", timeout=self._probe_timeout + 1, name=holder.name, epoch=holder.epoch
            )
        except WorkerUnreachable:
            alive = False
        if alive:
            raise _taken(newcomer)

    def _evict(self, gateway: Gateway, why: str) -> None:
        if self.unregister(gateway, why):
            log.info("gateway %s: closed its old link: %s", gateway.name, why, extra={"gateway": gateway.name})
        gateway.link.abort(why)

    # Calls to and from other workers.

    def _request_eviction(self, holder: Registration) -> None:
        assert self._mesh is not None
        try:
            self._mesh.call(holder.worker, "evict", name=holder.name, epoch=holder.epoch)
        except WorkerUnreachable as error:
            log.debug("gateway %s: %s", holder.name, error)  # its link dies with its worker

    def _learn(self, arguments: dict[str, Any]) -> None:
        registration = Registration(**arguments["registration"])
        if registration.worker != self._me.id:
            self._directory.learn(registration)

    def _is_alive(self, arguments: dict[str, Any]) -> bool:
        gateway = self._by_name.get(arguments["name"])
        return gateway is not None and gateway.epoch == arguments["epoch"] and gateway.link.probe(self._probe_timeout)

    def _evict_for_other(self, arguments: dict[str, Any]) -> None:
        gateway = self._by_name.get(arguments["name"])
        if gateway is not None and gateway.epoch == arguments["epoch"]:
            self._evict(gateway, "its name was registered at another worker")


def _taken(newcomer: Gateway) -> NameTaken:
    return NameTaken(Refusal.NAME_TAKEN, f"the name {newcomer.name} is taken by another agent that is online")
