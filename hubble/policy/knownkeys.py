"""Keyed digests of verified keys, which the workers of a machine share and keep across restarts.

The runtime directory has two files that only the proxy's user can read. `keys.secret` holds 32 random bytes, and
`keys.known` a digest of 32 bytes for each pair of a key and its hash. No key can be read from them. With both files, or
with the proxy's memory, an attacker can test guesses faster than scrypt allows.
"""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import stat
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path

from hubble.base.runtimedir import KEYS_KNOWN as KNOWN
from hubble.base.runtimedir import KEYS_SECRET as SECRET

log = logging.getLogger("hubble.policy")

DIGEST = SECRET_BYTES = 32
MAX_KNOWN = 10_000
"""Digests to remember. A larger file is cut to its newer half."""


class KnownKeys:
    """Digests of verified keys. Without a directory they are private to this process. Never raises OSError."""

    def __init__(self, directory: Path | None = None) -> None:
        self._known: OrderedDict[bytes, None] = OrderedDict()
        self._path = directory / KNOWN if directory is not None else None
        self._secret = secrets.token_bytes(SECRET_BYTES)
        self._seen = (0, 0)
        """The file's inode, and the number of bytes already read."""
        if directory is not None:
            try:
                self._secret = _shared_secret(directory / SECRET)
            except OSError as error:
                self._unusable(error)

    def __len__(self) -> int:
        return len(self._known)

    def digest(self, hashed: str, key: str) -> bytes:
        """Return the digest of a pair of a hash and a key."""
        data = f"{hashed} {key}".encode("utf-8", "surrogatepass")
        return hashlib.blake2b(data, key=self._secret, digest_size=DIGEST, person=b"hubble known key").digest()

    def __contains__(self, digest: bytes) -> bool:
        if digest not in self._known:
            self._read()
        if digest not in self._known:
            return False
        self._known.move_to_end(digest)
        return True

    def add(self, digest: bytes) -> None:
        """Remember a digest, and share it with the other workers."""
        self._remember(digest)
        if self._path is not None:
            try:
                self._append(self._path, digest)
            except OSError as error:
                self._unusable(error)

    def _remember(self, digest: bytes) -> None:
        self._known[digest] = None
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)

    def _read(self) -> None:
        """Read the digests that other workers added."""
        if self._path is None:
            return
        try:
            descriptor = _open_private(self._path, os.O_RDONLY)
        except FileNotFoundError:
            return
        except OSError as error:
            self._unusable(error)
            return
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            start = self._seen[1] if self._seen[0] == status.st_ino else 0
            file.seek(start)
            data = file.read(2 * MAX_KNOWN * DIGEST)
        whole = len(data) // DIGEST * DIGEST
        self._seen = (status.st_ino, start + whole)
        for place in range(0, whole, DIGEST):
            self._remember(data[place : place + DIGEST])

    def _append(self, path: Path, digest: bytes) -> None:
        descriptor = _open_private(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            size = os.fstat(descriptor).st_size
            os.write(
                descriptor, b"\0" * (-size % DIGEST) + digest
            )  # align the digest after a partial write to a full disk
        finally:
            os.close(descriptor)
        if size >= MAX_KNOWN * DIGEST:
            self._shorten(path)

    def _shorten(self, path: Path) -> None:
        """Keep the newer half. A digest that another worker adds meanwhile may be lost, and is computed again."""
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        with suppress(FileNotFoundError):
            temporary.unlink()
        with os.fdopen(_open_private(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as file:
            file.write(path.read_bytes()[-(MAX_KNOWN // 2 * DIGEST) :])
        temporary.replace(path)

    def _unusable(self, error: OSError) -> None:
        """Log that the file is unusable, and use only this process's digests."""
        log.warning("cannot share verified keys among workers: %s: %s", error.filename, error.strerror)
        self._path = None


def _shared_secret(path: Path) -> bytes:
    """Return the secret of the directory; create it if there is none. Raises OSError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    if not path.exists():
        with os.fdopen(_open_private(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as file:
            file.write(secrets.token_bytes(SECRET_BYTES))
        try:
            with suppress(FileExistsError):  # another worker was first
                os.link(temporary, path)
        finally:
            temporary.unlink()
    with os.fdopen(_open_private(path, os.O_RDONLY), "rb") as file:
        secret = file.read(SECRET_BYTES)
    if len(secret) < SECRET_BYTES:
        raise OSError(0, "the file is truncated; remove it", str(path))
    return secret


def _open_private(path: Path, flags: int) -> int:
    """Open a file that only this user can access. Raises OSError."""
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o077:
        return descriptor
    os.close(descriptor)
    raise OSError(0, "the file is not private; give it to this user with mode 600", str(path))
