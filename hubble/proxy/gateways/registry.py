"""The agents registered here, those registered at other workers, and what happens when a name is taken."""

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
"""Seconds for which a session waits for a gateway that was here a moment ago, as agents do (hubble/agent/links.py)."""
MOST_WAITING = 1_000
POLL = 0.05
PROBE_TIMEOUT = 3.0
"""Seconds in which the holder of a name that another agent asks for must show a sign of life."""


class NameTaken(Exception):
    """The name cannot be had: `code` and the text say why."""

    def __init__(self, code: Refusal, text: str) -> None:
        super().__init__(text)
        self.code = code


class Gateways:
    """The registered agents by name; `directory` is the one truth among the workers, `mesh` leads to the others.

    An agent's own return (the same instance, a later epoch) takes its name back at once. Anybody else gets it only if
    the holder's link gives no sign of life: a silent swap would be a hijack.
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
        """The gateway called `name` if it is here, or None."""
        return self._by_name.get(name)

    def find(self, name: str) -> Peer | None:
        """The gateway if it is here, else the worker that holds it. None if nobody does."""
        gateway = self._by_name.get(name)
        if gateway is not None or self._mesh is None:
            return gateway
        try:
            registration = self._directory.find(name)
            if registration is None or registration.worker == self._me.id:
                return None
            return self._mesh.peer(registration.worker)
        except (DirectoryError, WorkerUnreachable) as error:
            log.info("gateway %s: not reached: %s", name, error)
            return None

    def find_patiently(self, name: str, since: float) -> Peer | None:
        """As `find`, but a gateway that was here a moment ago is waited for: until PATIENCE after `since`.

        `since` is by the monotonic clock. No more than MOST_WAITING wait at a time.
        """
        peer = self.find(name)
        if peer is not None or self._waiting >= MOST_WAITING or not self._was_held(name):
            return peer
        self._waiting += 1
        try:
            while peer is None and time.monotonic() < since + PATIENCE:
                gevent.sleep(POLL + POLL * self._waiting / 100)  # all who wait together take a bounded time
                peer = self.find(name)
            return peer
        finally:
            self._waiting -= 1

    def _was_held(self, name: str) -> bool:
        try:
            return self._directory.was_held(name)
        except DirectoryError:
            return False

    def not_there(self, name: str, peer: WorkerPeer) -> None:
        """Another worker has said that it does not have the gateway: the directory is healed."""
        try:
            registration = self._directory.find(name)
            if registration is not None and registration.worker == peer.worker:
                self._directory.release(registration)
        except DirectoryError as error:
            log.warning("gateway %s: its stale entry stays: %s", name, error)

    # Registering.

    def register(self, newcomer: Gateway) -> None:
        """Give the newcomer its name; may wait for the holder's sign of life. Raises NameTaken."""
        if not newcomer.instance:  # of protocol 0.1, which has no epoch: each registration is to be told from others
            newcomer.epoch = time.time_ns() // 1000
        with self._registering.hold(newcomer.name):
            try:
                replaced = self._take(newcomer)
            except DirectoryError as error:
                log.error("gateway %s: not registered: %s", newcomer.name, error, extra={"gateway": newcomer.name})
                raise NameTaken(Refusal.BUSY, "the proxy's directory is out of order: try again") from error
        if replaced is not None and replaced.worker != self._me.id:
            gevent.spawn(self._tell_to_evict, replaced)
        if self._mesh is not None and self._directory.trouble:
            facts = dataclasses.asdict(self._registration(newcomer))
            gevent.spawn(self._mesh.call_all, "hear", registration=facts)

    def _take(self, newcomer: Gateway) -> Registration | None:
        """Get the name from the directory: whom it was taken from, if anybody had it."""
        registration = self._registration(newcomer)
        replaces: Registration | None = None
        while True:
            holder = self._by_name.get(newcomer.name)
            if holder is not None:
                self._outdo(holder, newcomer)
                continue
            elsewhere = self._directory.claim(registration, replaces)
            if elsewhere is None:
                break
            self._outdo_elsewhere(elsewhere, registration, newcomer)
            replaces = elsewhere
        self._by_name[newcomer.name] = newcomer
        newcomer.since = time.time()
        self._subscriber.registered(newcomer)
        return replaces

    def is_return(self, newcomer: Gateway) -> bool:
        """Whether the name belongs, here or elsewhere, to an earlier registration of the very same agent."""
        try:
            holder = self._directory.find(newcomer.name)
        except DirectoryError:
            return False
        return holder is not None and self._registration(newcomer).outdoes(holder)

    def unregister(self, gateway: Gateway, why: str) -> bool:
        """The gateway's link is gone; whether the name was its own still."""
        if self._by_name.get(gateway.name) is not gateway:
            return False
        del self._by_name[gateway.name]
        self._subscriber.unregistered(gateway, why)
        try:
            self._directory.release(self._registration(gateway))
        except DirectoryError as error:
            log.warning("gateway %s: not released yet: %s", gateway.name, error)
        return True

    def registrations(self) -> Iterator[Registration]:
        """Those of the gateways that are here, as the directory should have them."""
        return (self._registration(gateway) for gateway in self)

    def taken(self, holder: Registration) -> None:
        """A name that a gateway has here belongs to another worker's by now."""
        gateway = self._by_name.get(holder.name)
        if gateway is not None and holder.worker != self._me.id:
            self._evict(gateway, f"its name was registered at worker {holder.worker} meanwhile")

    def _registration(self, gateway: Gateway) -> Registration:
        return Registration(gateway.name, self._me.id, gateway.epoch, owner_digest(gateway.instance))

    def _outdo(self, holder: Gateway, newcomer: Gateway) -> None:
        """Evict the holder of a name, who is here, or refuse the newcomer."""
        if holder.instance and holder.instance == newcomer.instance:
            if newcomer.epoch <= holder.epoch:
                raise NameTaken(Refusal.STALE, "this agent has registered again since")
            self._evict(holder, "replaced by the agent's own return")
        elif holder.link.probe(self._probe_timeout):
            raise _taken(newcomer)
        else:
            self._evict(holder, f"no sign of life within {self._probe_timeout:g} s when its name was asked for")

    def _outdo_elsewhere(self, holder: Registration, registration: Registration, newcomer: Gateway) -> None:
        """The same for a holder at another worker, or refuse; the newcomer may then claim the name from it."""
        if holder.worker == self._me.id or self._mesh is None:
            return  # left over from a link that is gone
        if holder.owner and holder.owner == registration.owner:
            if registration.epoch <= holder.epoch:
                raise NameTaken(Refusal.STALE, "this agent has registered again since")
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
            log.info("gateway %s: its old link is closed: %s", gateway.name, why, extra={"gateway": gateway.name})
        gateway.link.abort(why)

    # What other workers ask, and are asked.

    def _tell_to_evict(self, holder: Registration) -> None:
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
            self._evict(gateway, "the agent, or another in its place, has registered at another worker")


def _taken(newcomer: Gateway) -> NameTaken:
    return NameTaken(Refusal.NAME_TAKEN, f"the name {newcomer.name} is taken by another agent that is here")
