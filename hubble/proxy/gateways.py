"""The agents registered here, those registered at other workers, and what happens when a name is taken."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from hubble.directory import Directory, Registration, Worker, owner_digest
from hubble.protocol.messages import Refusal
from hubble.proxy.mesh import Mesh, WorkerUnreachable
from hubble.proxy.routes import Leg, worker_leg_name

log = logging.getLogger(__name__)

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
        self, me: Worker, directory: Directory, mesh: Mesh | None = None, *, probe_timeout: float = PROBE_TIMEOUT
    ) -> None:
        self._me = me
        self._directory = directory
        self._mesh = mesh
        self._probe_timeout = probe_timeout
        self._by_name: dict[str, Leg] = {}
        if mesh is not None:
            mesh.methods |= {"is_alive": self._is_alive, "evict": self._evict_for_other}

    def __iter__(self) -> Iterator[Leg]:
        return iter(list(self._by_name.values()))

    def __len__(self) -> int:
        return len(self._by_name)

    # Finding.

    def get(self, name: str) -> Leg | None:
        """The gateway called `name` if it is here, or None."""
        return self._by_name.get(name)

    def find(self, name: str) -> Leg | None:
        """The leg that leads to a gateway: its own, or that to the worker which holds it. None if nobody has it."""
        leg = self._by_name.get(name)
        if leg is not None or self._mesh is None:
            return leg
        registration = self._directory.find(name)
        if registration is None or registration.worker == self._me.id:
            return None
        try:
            return self._mesh.leg(registration.worker)
        except WorkerUnreachable as error:
            log.info("gateway %s: not reached: %s", name, error)
            return None

    def not_there(self, name: str, leg: Leg) -> None:
        """The worker behind `leg` has said that it does not have the gateway: the directory is healed."""
        registration = self._directory.find(name)
        if registration is not None and leg.name == worker_leg_name(registration.worker):
            self._directory.release(registration)

    # Registering.

    def register(self, newcomer: Leg) -> None:
        """Give the newcomer its name; may wait for the holder's sign of life. Raises NameTaken."""
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
        if replaces is not None and replaces.worker != self._me.id:
            self._tell_to_evict(replaces)

    def unregister(self, leg: Leg) -> bool:
        """The gateway's link is gone; whether the name was its own still."""
        if self._by_name.get(leg.name) is not leg:
            return False
        del self._by_name[leg.name]
        self._directory.release(self._registration(leg))
        return True

    def claim_again(self) -> None:
        """The directory has lost what this worker told it: tell it again. Who holds a name meanwhile keeps it."""
        for leg in self:
            holder = self._directory.claim(self._registration(leg))
            if holder is not None and holder != self._registration(leg):
                self._evict(leg, f"its name was registered at worker {holder.worker} meanwhile")

    def _registration(self, leg: Leg) -> Registration:
        return Registration(leg.name, self._me.id, leg.epoch, owner_digest(leg.instance))

    def _outdo(self, holder: Leg, newcomer: Leg) -> None:
        """Evict the holder of a name, who is here, or refuse the newcomer."""
        if holder.instance and holder.instance == newcomer.instance:
            if newcomer.epoch <= holder.epoch:
                raise NameTaken(Refusal.STALE, "this agent has registered again since")
            self._evict(holder, "replaced by the agent's own return")
        elif holder.link.probe(self._probe_timeout):
            raise _taken(newcomer)
        else:
            self._evict(holder, f"no sign of life within {self._probe_timeout:g} s when its name was asked for")

    def _outdo_elsewhere(self, holder: Registration, registration: Registration, newcomer: Leg) -> None:
        """The same for a holder at another worker, or refuse; the newcomer may then claim the name from it."""
        if holder.worker == self._me.id or self._mesh is None:
            return  # left over from a link that is gone
        if holder.owner and holder.owner == registration.owner:
            if registration.epoch <= holder.epoch:
                raise NameTaken(Refusal.STALE, "this agent has registered again since")
            return
        try:
            alive = self._mesh.call(holder.worker, "is_alive", name=holder.name, epoch=holder.epoch)
        except WorkerUnreachable:
            alive = False
        if alive:
            raise _taken(newcomer)

    def _evict(self, leg: Leg, why: str) -> None:
        if self.unregister(leg):
            log.info("gateway %s: its old link is closed: %s", leg.name, why, extra={"gateway": leg.name})
        leg.link.abort(why)

    # What other workers ask, and are asked.

    def _tell_to_evict(self, holder: Registration) -> None:
        assert self._mesh is not None
        try:
            self._mesh.call(holder.worker, "evict", name=holder.name, epoch=holder.epoch)
        except WorkerUnreachable as error:
            log.debug("gateway %s: %s", holder.name, error)  # its link dies with its worker

    def _is_alive(self, arguments: dict[str, Any]) -> bool:
        leg = self._by_name.get(arguments["name"])
        return leg is not None and leg.epoch == arguments["epoch"] and leg.link.probe(self._probe_timeout)

    def _evict_for_other(self, arguments: dict[str, Any]) -> None:
        leg = self._by_name.get(arguments["name"])
        if leg is not None and leg.epoch == arguments["epoch"]:
            self._evict(leg, "the agent, or another in its place, has registered at another worker")


def _taken(newcomer: Leg) -> NameTaken:
    log.warning("gateway %s: refused to %s: the name is taken", newcomer.name, newcomer.address)
    return NameTaken(Refusal.NAME_TAKEN, f"the name {newcomer.name} is taken by another agent that is here")
