"""Keys of identities: hashed for the rules file, and verified without holding the hub."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections import OrderedDict
from dataclasses import dataclass

from gevent.threadpool import ThreadPool

from hubble.policy.digest import secret_digest

COST = 14  # log2 of scrypt's N: 16 MiB, about 40 ms
BLOCK = 8
PARALLEL = 1
SALT_BYTES = 16
HASH_BYTES = 32
MAX_COST = 18
MAX_KEY = 1024  # characters
THREADS = 2
MAX_WAITING = 64
MAX_KNOWN = 10_000

_FORM = re.compile(r"\$scrypt\$ln=(\d{1,2}),r=(\d{1,2}),p=(\d{1,2})\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)")


class Overload(Exception):
    """More keys wait to be verified than makes sense; the text says so."""


@dataclass(frozen=True, slots=True)
class KeyHash:
    """A parsed line of hash_key."""

    text: str
    cost: int
    block: int
    parallel: int
    salt: bytes
    digest: bytes

    @classmethod
    def parse(cls, text: str) -> KeyHash:
        """Raises ValueError, without the text."""
        found = _FORM.fullmatch(text)
        if not found:
            raise ValueError("not a hashed key; make one with: hubble-proxy hash-key")
        cost, block, parallel = (int(part) for part in found.group(1, 2, 3))
        if not (1 <= cost <= MAX_COST and 1 <= block <= BLOCK * 2 and 1 <= parallel <= 4):
            raise ValueError("a hashed key that would cost too much to verify; make one with: hubble-proxy hash-key")
        try:
            salt, digest = (base64.b64decode(part + "=" * (-len(part) % 4)) for part in found.group(4, 5))
        except binascii.Error:
            raise ValueError("a hashed key that is cut off; make one with: hubble-proxy hash-key") from None
        if len(digest) < 16:
            raise ValueError("a hashed key that is cut off; make one with: hubble-proxy hash-key")
        return cls(text, cost, block, parallel, salt, digest)

    def fits(self, key: str) -> bool:
        """Whether `key` was hashed. Costs tens of milliseconds of CPU, with the interpreter's lock released."""
        computed = _scrypt(key, self.salt, self.cost, self.block, self.parallel, len(self.digest))
        return hmac.compare_digest(computed, self.digest)


def _scrypt(key: str, salt: bytes, cost: int, block: int, parallel: int, size: int) -> bytes:
    memory = 128 * block * (2**cost + parallel + 2) + 1024 * 1024
    return hashlib.scrypt(
        key.encode("utf-8", "surrogatepass"), salt=salt, n=2**cost, r=block, p=parallel, maxmem=memory, dklen=size
    )


def _unpadded(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii").rstrip("=")


def hash_key(key: str) -> str:
    """A line for the rules file that proves `key` and does not tell it: "$scrypt$ln=14,r=8,p=1$SALT$HASH".

    Raises ValueError for a key that is empty or longer than 1024 characters.
    """
    if not 0 < len(key) <= MAX_KEY:
        raise ValueError(f"a key has 1 to {MAX_KEY} characters")
    salt = secrets.token_bytes(SALT_BYTES)
    digest = _scrypt(key, salt, COST, BLOCK, PARALLEL, HASH_BYTES)
    return f"$scrypt$ln={COST},r={BLOCK},p={PARALLEL}${_unpadded(salt)}${_unpadded(digest)}"


class KeyVerifier:
    """Verifies keys in threads of its own, and remembers by a keyed digest which ones were right."""

    def __init__(self) -> None:
        self._threads = ThreadPool(THREADS)
        self._waiting = 0
        self._known: OrderedDict[bytes, None] = OrderedDict()

    def verify(self, hashed: KeyHash, key: str) -> bool:
        """Whether `key` is the hashed one. Blocks the greenlet, not the hub. Raises Overload."""
        if not 0 < len(key) <= MAX_KEY:
            return False
        entry = secret_digest(f"{hashed.text} {key}")
        if entry in self._known:
            self._known.move_to_end(entry)
            return True
        if self._waiting >= MAX_WAITING:
            raise Overload(f"more than {MAX_WAITING} keys wait to be verified")
        self._waiting += 1
        try:
            right = bool(self._threads.apply(hashed.fits, (key,)))
        finally:
            self._waiting -= 1
        if right:
            self._known[entry] = None
            if len(self._known) > MAX_KNOWN:
                self._known.popitem(last=False)
        return right
