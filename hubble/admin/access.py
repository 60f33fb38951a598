"""The API's token, and the file from which terminal clients read the token and the address."""

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
    """The address of the API, and the token that it requires."""

    address: str
    token: str = field(repr=False)

    def write(self, runtime_dir: Path) -> None:
        """Write the file for terminal clients. Raises UsageError."""
        path = runtime_dir / ADMIN
        try:
            write_atomically(path, json.dumps({"address": self.address, "token": self.token}).encode())
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror}") from error

    @staticmethod
    def forget(runtime_dir: Path) -> None:
        """Remove the file that an earlier proxy with an API has left. Raises UsageError."""
        path = runtime_dir / ADMIN
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise UsageError(f"cannot remove {path}: {error.strerror}") from error

    @classmethod
    def read(cls, runtime_dir: Path) -> Access:
        """Read the file that a running proxy with `--admin` has written. Raises UsageError."""
        path = runtime_dir / ADMIN
        try:
            fields = json.loads(path.read_text())
            return cls(str(fields["address"]), str(fields["token"]))
        except FileNotFoundError as error:
            raise UsageError(
                f"cannot read {path}: {error.strerror}; check that the proxy is running and was started with --admin"
            ) from error
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{path} is not a valid admin file; restart the proxy with --admin") from error


def new_token() -> str:
    """Return a new random token of 24 bytes in base64url."""
    return secrets.token_urlsafe(24)


def read_token(path: Path) -> str:
    """Read the token in a file. Raises UsageError."""
    try:
        token = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the token file {path}: {getattr(error, 'strerror', error)}") from error
    if len(token) < SHORTEST or not token.isascii() or not token.isprintable() or " " in token:
        raise UsageError(
            f"invalid token in {path}: write one line of at least {SHORTEST} ASCII letters, digits or signs"
        )
    return token


def is_authorized(header: str, token: str) -> bool:
    """Return whether an Authorization header carries the token (RFC 6750), in constant time."""
    scheme, _, given = header.partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode("latin-1"), token.encode())
