"""Hashed keys, as the rules file contains them."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from abc import ABC, abstractmethod
from dataclasses import dataclass

COST = 14  # log2 of scrypt's N: 16 MiB, about 40 ms
BLOCK = 8
PARALLEL = 1
SALT_BYTES = 16
HASH_BYTES = 32
MAX_COST = 18
MAX_KEY = 1024  # characters
RANDOM_BYTES = 32
"""Bytes of a generated key: 256 bits cannot be guessed, even with a fast hash."""

HINT = "make one with: hubble-proxy hash-key"
_FORM = re.compile(r"\$scrypt\$ln=(\d{1,2}),r=(\d{1,2}),p=(\d{1,2})\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)")
_RANDOM_FORM = re.compile(r"\$blake2b-random\$([A-Za-z0-9+/]{43})")
_GENERATED = re.compile(r"hubble_[A-Za-z0-9_-]{43}")


class KeyHash(ABC):
    """A parsed hash of hash_key or generate_key."""

    text: str
    is_fast: bool
    """Whether `fits` takes microseconds rather than tens of milliseconds."""

    @staticmethod
    def parse(text: str) -> KeyHash:
        """Parse a hash. Raises ValueError, whose text does not contain the hash."""
        if text.startswith("$blake2b-random$"):
            return RandomKeyHash.parse(text)
        return ScryptHash.parse(text)

    @abstractmethod
    def fits(self, key: str) -> bool:
        """Return whether the hash is that of `key`."""


@dataclass(frozen=True, slots=True)
class ScryptHash(KeyHash):
    """The hash of a key that a person may have chosen. Verifying takes tens of milliseconds and releases the GIL."""

    text: str
    cost: int
    block: int
    parallel: int
    salt: bytes
    digest: bytes
    is_fast = False

    @classmethod
    def parse(cls, text: str) -> ScryptHash:
        found = _FORM.fullmatch(text)
        if not found:
            raise ValueError(f"the value is not a hashed key; {HINT}")
        cost, block, parallel = (int(part) for part in found.group(1, 2, 3))
        if not (1 <= cost <= MAX_COST and 1 <= block <= BLOCK * 2 and 1 <= parallel <= 4):
            raise ValueError(f"the hashed key costs too much to verify; {HINT}")
        try:
            salt, digest = (_decoded(part) for part in found.group(4, 5))
        except binascii.Error:
            raise ValueError(f"the hashed key is truncated; {HINT}") from None
        if len(digest) < 16:
            raise ValueError(f"the hashed key is truncated; {HINT}")
        return cls(text, cost, block, parallel, salt, digest)

    def fits(self, key: str) -> bool:
        computed = _scrypt(key, self.salt, self.cost, self.block, self.parallel, len(self.digest))
        return hmac.compare_digest(computed, self.digest)


@dataclass(frozen=True, slots=True)
class RandomKeyHash(KeyHash):
    """The hash of a generated key (BLAKE2b, RFC 7693). No key of another form fits, even if its hash is equal."""

    text: str
    digest: bytes
    is_fast = True

    @classmethod
    def parse(cls, text: str) -> RandomKeyHash:
        found = _RANDOM_FORM.fullmatch(text)
        if not found:
            raise ValueError("the hashed key is truncated; make one with: hubble-proxy hash-key --generate")
        return cls(text, _decoded(found[1]))

    def fits(self, key: str) -> bool:
        return bool(_GENERATED.fullmatch(key)) and hmac.compare_digest(_blake2b(key), self.digest)


def _scrypt(key: str, salt: bytes, cost: int, block: int, parallel: int, size: int) -> bytes:
    memory = 128 * block * (2**cost + parallel + 2) + 1024 * 1024
    return hashlib.scrypt(
        key.encode("utf-8", "surrogatepass"), salt=salt, n=2**cost, r=block, p=parallel, maxmem=memory, dklen=size
    )


def _blake2b(key: str) -> bytes:
    return hashlib.blake2b(key.encode(), digest_size=HASH_BYTES, person=b"hubble key").digest()


def _decoded(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4))


def _unpadded(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii").rstrip("=")


def hash_key(key: str) -> str:
    """Return the hash of `key` for the rules file: "$scrypt$ln=14,r=8,p=1$SALT$HASH".

    Raises ValueError for a key that is empty or longer than 1,024 characters.
    """
    if not 0 < len(key) <= MAX_KEY:
        raise ValueError(f"a key has 1 to {MAX_KEY} characters")
    salt = secrets.token_bytes(SALT_BYTES)
    digest = _scrypt(key, salt, COST, BLOCK, PARALLEL, HASH_BYTES)
    return f"$scrypt$ln={COST},r={BLOCK},p={PARALLEL}${_unpadded(salt)}${_unpadded(digest)}"


def generate_key() -> tuple[str, str]:
    """Return a new random key ("hubble_" and 43 characters), and its hash for the rules file."""
    key = f"hubble_{secrets.token_urlsafe(RANDOM_BYTES)}"
    return key, f"$blake2b-random${_unpadded(_blake2b(key))}"
