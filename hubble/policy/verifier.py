"""Verifies keys fairly, without blocking the hub, and only once.

Scrypt costs 40 ms of processor time. Wrong keys must not delay right ones: networks take turns, and networks that sent
no wrong key come first. The workers share right keys, and each remembers wrong keys for a while.
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
"""Keys use at most one processor. A lower priority would not help: a thread that waits for the processor may hold the
interpreter's lock, and then stops the sessions."""
MAX_WAITING = 256
MAX_WAITING_EACH = 32
"""Keys waiting to be verified: in all, and from one network (/24, /64)."""
PATIENCE = 8.0
"""Seconds that a key waits for its turn. An agent waits 10 s for the answer."""
MAX_WRONG = 10_000
WRONG_SECONDS = 300.0
"""Seconds to remember a wrong key."""


class Overload(Exception):
    """Too many keys are waiting, so this one was not verified. The text gives the reason."""


class KeyVerifier:
    """Verifies keys against hashes in its own threads. The workers of a machine share verified keys in `directory`."""

    def __init__(self, directory: Path | None = None) -> None:
        self._threads = ThreadPool(THREADS)
        self._turns = FairTurns(THREADS, MAX_WAITING, MAX_WAITING_EACH)
        self._known = KnownKeys(directory)
        self._wrong: OrderedDict[bytes, float] = OrderedDict()
        self._computing: dict[bytes, AsyncResult] = {}

    def recognizes(self, hashes: Sequence[KeyHash], key: str, address: str = "") -> bool:
        """Return whether `key` is known to be right, or can be verified in microseconds."""
        if not 0 < len(key) <= MAX_KEY:
            return False
        return any(hashed.fits(key) if hashed.is_fast else self._is_known(hashed, key) for hashed in hashes)

    def verify(self, hashes: Sequence[KeyHash], key: str, address: str = "") -> bool:
        """Return whether one of the hashes is that of `key`, which came from `address`.

        Blocks the greenlet, but not the hub. Raises Overload.
        """
        if self.recognizes(hashes, key):
            return True
        if not 0 < len(key) <= MAX_KEY:
            return False
        return any(not hashed.is_fast and self._compute_once(hashed, key, address) for hashed in hashes)

    def _is_known(self, hashed: KeyHash, key: str) -> bool:
        return self._known.digest(hashed.text, key) in self._known

    def _compute_once(self, hashed: KeyHash, key: str, address: str) -> bool:
        """Compute once for concurrent requests, because many agents may share a key."""
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
