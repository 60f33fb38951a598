"""Verifies keys without holding the hub, fairly, and does not compute twice what it knows.

Scrypt costs 40 ms of a processor. Wrong keys must not use up the turns of right ones: networks take turns, those that
have sent no wrong key first. All workers know a key that was right, and a wrong one is remembered for a while.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

from gevent.event import AsyncResult
from gevent.threadpool import ThreadPool

from hubble.base.fairturns import Crowded, FairTurns
from hubble.base.networks import network_of
from hubble.base.threads import in_thread
from hubble.policy.keys import MAX_KEY, KeyHash
from hubble.policy.knownkeys import KnownKeys

THREADS = 1
"""One processor at most goes into keys. A lower priority would not help: a thread that holds the interpreter's lock
while it waits for the processor stops the sessions."""
MAX_WAITING = 256
MAX_WAITING_EACH = 32
"""Keys that wait to be verified: in all, and from one network (/24, /64)."""
PATIENCE = 8.0
"""Seconds that a key waits for its turn; an agent waits 10 s for the answer."""
MAX_WRONG = 10_000
WRONG_SECONDS = 300.0
"""How long a wrong key is remembered."""


class Overload(Exception):
    """Too many keys wait to be verified: this one was neither right nor wrong. The text says so."""


class KeyVerifier:
    """Verifies keys against hashes, in threads of its own; `directory` is where the workers of a machine share."""

    def __init__(self, directory: Path | None = None) -> None:
        self._threads = ThreadPool(THREADS)
        self._turns = FairTurns(THREADS, MAX_WAITING, MAX_WAITING_EACH)
        self._known = KnownKeys(directory)
        self._wrong: OrderedDict[bytes, float] = OrderedDict()
        self._computing: dict[bytes, AsyncResult] = {}

    def recognizes(self, hashes: Sequence[KeyHash], key: str, address: str = "") -> bool:
        """Whether `key` is right as far as that is known, or found out, at no cost."""
        if not 0 < len(key) <= MAX_KEY:
            return False
        return any(hashed.fits(key) if hashed.is_fast else self._is_known(hashed, key) for hashed in hashes)

    def verify(self, hashes: Sequence[KeyHash], key: str, address: str = "") -> bool:
        """Whether `key`, which came from `address`, is that of one of the hashes. Blocks the greenlet, not the hub.

        Raises Overload.
        """
        if self.recognizes(hashes, key):
            return True
        if not 0 < len(key) <= MAX_KEY:
            return False
        return any(not hashed.is_fast and self._compute_once(hashed, key, address) for hashed in hashes)

    def _is_known(self, hashed: KeyHash, key: str) -> bool:
        return self._known.digest(hashed.text, key) in self._known

    def _compute_once(self, hashed: KeyHash, key: str, address: str) -> bool:
        """The same for all who ask at the same time: many agents may have one key."""
        digest = self._known.digest(hashed.text, key)
        if self._is_known_wrong(digest):
            return False
        computing = self._computing.get(digest)
        if computing is None:
            return self._compute(hashed, key, address, digest)
        right = computing.get(timeout=PATIENCE) if not computing.ready() else computing.get()
        if right is None:
            raise _overload()
        return bool(right)

    def _compute(self, hashed: KeyHash, key: str, address: str, digest: bytes) -> bool:
        computing = self._computing[digest] = AsyncResult()
        right: bool | None = None
        try:
            with self._turns.of(network_of(address), PATIENCE):
                right = bool(in_thread(self._threads, hashed.fits, key))
        except Crowded:
            raise _overload() from None
        finally:
            del self._computing[digest]
            computing.set(right)
        if right:
            self._known.add(digest)
        else:
            self._remember_wrong(digest)
            self._turns.blame(network_of(address))
        return right

    def _is_known_wrong(self, digest: bytes) -> bool:
        return time.monotonic() < self._wrong.get(digest, 0.0)

    def _remember_wrong(self, digest: bytes) -> None:
        self._wrong.pop(digest, None)
        self._wrong[digest] = time.monotonic() + WRONG_SECONDS
        if len(self._wrong) > MAX_WRONG:
            self._wrong.popitem(last=False)


def _overload() -> Overload:
    return Overload("too many keys wait to be verified")
