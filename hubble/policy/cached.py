"""A cache of decisions."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import replace

from hubble.policy.authorizer import AnyRequest, Authorizer, Wrapper
from hubble.policy.digest import secret_digest
from hubble.policy.request import ConnectionRequest, Decision, RegistrationRequest

MAX_ENTRIES = 10_000
MAX_SECONDS = 24 * 3600.0


class Cached(Wrapper):
    """Caches the decisions of another authorizer for their `cache_seconds`, at most a day.

    A request gets a cached decision if its kind and all its facts but the session's id are the same. That id is always
    new. Errors are not cached. The cache holds at most `max_entries`, and drops the least recently used first. It holds
    keys only as keyed digests.
    """

    def __init__(
        self, authorizer: Authorizer, max_entries: int = MAX_ENTRIES, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(authorizer)
        self._max_entries = max_entries
        self._clock = clock
        self._kept: OrderedDict[Hashable, tuple[float, Decision]] = OrderedDict()
        self._generation = 0

    def connect(self, request: ConnectionRequest) -> Decision:
        return self._decide("connect", _facts(request), self._authorizer.connect, request)

    def register(self, request: RegistrationRequest) -> Decision:
        return self._decide("register", _registration_facts(request), self._authorizer.register, request)

    def resume(self, request: ConnectionRequest) -> Decision:
        return self._decide("resume", _facts(request), self._authorizer.resume, request)

    def reload(self) -> None:
        super().reload()
        self.clear()

    def reload_if_changed(self) -> bool:
        changed = super().reload_if_changed()
        if changed:
            self.clear()
        return changed

    def clear(self) -> None:
        """Drop all decisions, and do not cache those in progress."""
        self._kept.clear()
        self._generation += 1

    def __len__(self) -> int:
        return len(self._kept)

    def _decide(
        self, kind: str, facts: Hashable, method: Callable[[AnyRequest], Decision], request: AnyRequest
    ) -> Decision:
        entry = (kind, facts)
        expires, decision = self._kept.get(entry, (0.0, None))
        if decision is not None and self._clock() < expires:
            self._kept.move_to_end(entry)
            return decision
        generation = self._generation
        decision = method(request)
        if decision.cache_seconds > 0 and not (decision.error or decision.busy) and generation == self._generation:
            self._keep(entry, decision)
        return decision

    def _keep(self, entry: Hashable, decision: Decision) -> None:
        self._kept[entry] = (self._clock() + min(decision.cache_seconds, MAX_SECONDS), decision)
        self._kept.move_to_end(entry)
        while len(self._kept) > self._max_entries:
            self._kept.popitem(last=False)


def _facts(request: ConnectionRequest) -> Hashable:
    return secret_digest(request.key), replace(request, key="", session="")


def _registration_facts(request: RegistrationRequest) -> Hashable:
    # Headers may hold credentials, as the key does.
    headers = secret_digest(repr(sorted(request.headers.items())))
    return secret_digest(request.key), headers, replace(request, key="", headers={})
