"""The admin listener and its token, which all workers share."""

from __future__ import annotations

import socket
from argparse import Namespace
from pathlib import Path

from hubble.admin.access import new_token, read_token
from hubble.base.errors import UsageError
from hubble.cli.arguments import admin_address
from hubble.transport.bind import bind_patiently
from hubble.transport.endpoint import endpoint


def admin_listen(options: Namespace) -> str:
    """Return the normalized address of the admin listener, or "" without one. Raises UsageError."""
    return endpoint(*admin_address(options.admin, "--admin")) if options.admin else ""


def admin_socket(options: Namespace) -> socket.socket | None:
    """Return the bound socket of the admin listener, or None without one. Raises UsageError, ListenError."""
    if not options.admin:
        return None
    return bind_patiently(*admin_address(options.admin, "--admin"), listen=False)


def admin_token(options: Namespace, known: str = "") -> str:
    """Return the API's token: from the file, a predecessor's (`known`), or a new one. Raises UsageError."""
    if options.admin_token_file and not options.admin:
        raise UsageError("--admin-token-file has no meaning without --admin")
    return read_token(Path(options.admin_token_file)) if options.admin_token_file else known or new_token()
