"""The options of the admin listener."""

from __future__ import annotations

import os
import re
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hubble.cli.arguments import Parser, admin_address
from hubble.errors import UsageError
from hubble.events.choose import shown_target
from hubble.proxy.admin.access import Access, new_token, read_token
from hubble.transport.addresses import Socket, endpoint
from hubble.transport.listen import open_listener

SECRET = re.compile(r"(^|_)(key|secret|token|password)$")
"""Options that would hold a secret itself; those that end in _file name only where it is."""


def add_admin_options(parser: Parser) -> None:
    """Add them to the proxy's arguments."""
    parser.option("admin", metavar="ADDRESS", help="[host]:port of the dashboard, the API and the metrics; the host is "
                  "127.0.0.1 unless given")  # fmt: skip
    parser.option("admin-token-file", metavar="FILE", help="the token that they want; one is made, and printed, unless "
                  "given")  # fmt: skip


def open_admin(options: Namespace, runtime_dir: Path | None) -> tuple[Socket, Access] | None:
    """The admin listener and how to get in, or None if there is to be none. Raises UsageError, ListenError.

    A token that was made is printed once, on standard error. With a runtime directory, terminal clients of the same
    user find both there.
    """
    if options.admin is None:
        if options.admin_token_file:
            raise UsageError("--admin-token-file has no meaning without --admin")
        return None
    token = read_token(Path(options.admin_token_file)) if options.admin_token_file else new_token()
    listener = open_listener(*admin_address(options.admin, "--admin"))
    access = Access(endpoint(*listener.getsockname()[:2]), token)
    if not options.admin_token_file:
        print(f"dashboard: http://{access.address}/#token={token}", file=sys.stderr, flush=True)
    if runtime_dir is not None:
        access.write(runtime_dir)
    return listener, access


def configuration(options: Namespace) -> dict[str, Any]:
    """The options as an operator may see them: without keys, tokens, passwords and queries."""
    return {
        name.replace("_", "-"): _shown(name, value)
        for name, value in sorted(vars(options).items())
        if value is not None and not name.startswith("_")
    }


def default_runtime_dir() -> Path:
    """Where a proxy of this user leaves what its terminal clients need, unless told otherwise."""
    if given := os.environ.get("HUBBLE_RUNTIME_DIR"):
        return Path(given)
    return Path(os.environ.get("XDG_RUNTIME_DIR") or "/run") / "hubble"


def _shown(name: str, value: Any) -> Any:
    if SECRET.search(name):
        return "***"
    if isinstance(value, list | tuple):
        return [_shown(name, item) for item in value]
    if isinstance(value, str) and "://" in value:
        return _without_password(value)
    return value if isinstance(value, bool | int | float) else str(value)


def _without_password(url: str) -> str:
    if url.startswith(("https:", "http:")):
        return shown_target(url)
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{user.partition(':')[0]}:***@{host}" if at else host, query="").geturl()
