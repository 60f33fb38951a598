"""The agents registered here, and what happens when a name is taken."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from hubble.protocol.messages import Refusal
from hubble.proxy.routes import Leg

log = logging.getLogger(__name__)

PROBE_TIMEOUT = 3.0
"""Seconds in which the holder of a name that another agent asks for must show a sign of life."""


class NameTaken(Exception):
    """The name cannot be had: `code` and the text say why."""

    def __init__(self, code: Refusal, text: str) -> None:
        super().__init__(text)
        self.code = code


class Gateways:
    """The registered agents by name.

    An agent's own return (the same instance, a later epoch) takes its name back at once. Anybody else gets it only if
    the holder's link gives no sign of life: a silent swap would be a hijack.
    """

    def __init__(self) -> None:
        self._by_name: dict[str, Leg] = {}

    def __iter__(self) -> Iterator[Leg]:
        return iter(list(self._by_name.values()))

    def __len__(self) -> int:
        return len(self._by_name)

    def get(self, name: str) -> Leg | None:
        """The gateway called `name`, or None."""
        return self._by_name.get(name)

    def register(self, newcomer: Leg) -> None:
        """Give the newcomer its name; may wait for the holder's sign of life. Raises NameTaken."""
        holder = self._by_name.get(newcomer.name)
        while holder is not None:
            self._evict_or_refuse(holder, newcomer)
            holder = self._by_name.get(newcomer.name)
        self._by_name[newcomer.name] = newcomer

    def unregister(self, leg: Leg) -> bool:
        """The gateway's link is gone; whether the name was its own still."""
        if self._by_name.get(leg.name) is not leg:
            return False
        del self._by_name[leg.name]
        return True

    def _evict_or_refuse(self, holder: Leg, newcomer: Leg) -> None:
        if holder.instance and holder.instance == newcomer.instance:
            if newcomer.epoch <= holder.epoch:
                raise NameTaken(Refusal.STALE, "this agent has registered again since")
            why = "replaced by the agent's own return"
        elif holder.link.probe(PROBE_TIMEOUT):
            log.warning("gateway %s: refused to %s: the name is taken", newcomer.name, newcomer.address)
            raise NameTaken(Refusal.NAME_TAKEN, f"the name {newcomer.name} is taken by another agent that is here")
        else:
            why = f"gave no sign of life within {PROBE_TIMEOUT:g} s when its name was asked for"
        if self._by_name.get(holder.name) is holder:
            del self._by_name[holder.name]
            log.info("gateway %s: its old link is closed: %s", holder.name, why)
        holder.link.abort(why)
