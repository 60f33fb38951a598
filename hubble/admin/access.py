"""The token that the API wants, and the file from which terminal clients take it and the address."""

from __future__ import annotations

import hmac
import json
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from hubble.base.errors import UsageError
from hubble.base.files import write_atomically
from hubble.base.runtimedir import ADMIN

SHORTEST = 16


@dataclass(frozen=True)
class Access:
    """Where the API is, and the token that it wants."""

    address: str
    token: str = field(repr=False)

    def write(self, runtime_dir: Path) -> None:
        """Leave it for terminal clients. Raises UsageError."""
        path = runtime_dir / ADMIN
        try:
            write_atomically(path, json.dumps({"address": self.address, "token": self.token}).encode())
        except OSError as error:
            raise UsageError(f"{path} cannot be written: {error.strerror}") from error

    @staticmethod
    def forget(runtime_dir: Path) -> None:
        """There is no API: whoever looks for it must not find a predecessor's. Raises UsageError."""
        path = runtime_dir / ADMIN
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise UsageError(f"{path} cannot be removed: {error.strerror}") from error

    @classmethod
    def read(cls, runtime_dir: Path) -> Access:
        """What a proxy that runs, with `--admin`, has left. Raises UsageError."""
        path = runtime_dir / ADMIN
        try:
            fields = json.loads(path.read_text())
            return cls(str(fields["address"]), str(fields["token"]))
        except FileNotFoundError as error:
            raise UsageError(f"{path} cannot be read: {error.strerror} (does the proxy run, with --admin?)") from error
        except OSError as error:
            raise UsageError(f"{path} cannot be read: {error.strerror}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{path} does not say where the proxy's API is") from error


def new_token() -> str:
    """A token that nobody can guess."""
    return secrets.token_urlsafe(24)


def read_token(path: Path) -> str:
    """The token in a file. Raises UsageError."""
    try:
        token = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the token file {path} cannot be read: {getattr(error, 'strerror', error)}") from error
    if len(token) < SHORTEST or not token.isascii() or not token.isprintable() or " " in token:
        raise UsageError(f"the token in {path} should be one line of {SHORTEST} or more letters, digits and signs")
    return token


def is_authorized(header: str, token: str) -> bool:
    """Whether an Authorization header carries the token (RFC 6750); compared in constant time."""
    scheme, _, given = header.partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode("latin-1"), token.encode())
