"""Attaches the event loggers and the admin listener to a worker's proxy."""

from __future__ import annotations

import re
from argparse import Namespace
from typing import Any
from urllib.parse import urlsplit

from hubble.admin.server import answer_peers, serve
from hubble.admin.service import BeginDrain
from hubble.events.choose import shown_target
from hubble.proxy.proxy import Proxy
from hubble.transport.addresses import Socket
from hubble.worker.events_options import event_loggers

SECRET = re.compile(r"(^|_)(key|secret|token|password)$")
"""Matches options that hold a secret. Options that end in _file hold only its path."""


def attach_watchers(proxy: Proxy, options: Namespace, admin: Socket | None, token: str, drain: BeginDrain) -> None:
    """Install the event loggers and serve the admin listener, if there is one. Call before the proxy starts.

    drain: begins to drain all workers. Raises UsageError.
    """
    for name, logger in event_loggers(options):
        proxy.watch.events.install(logger, name)
    answer_peers(proxy)
    if admin is not None:
        serve(proxy, admin, token, configuration(options), drain)


def configuration(options: Namespace) -> dict[str, Any]:
    """Return the options for display to operators: without keys, tokens, passwords and URL queries."""
    return {
        name.replace("_", "-"): _shown(name, value)
        for name, value in sorted(vars(options).items())
        if value is not None and not name.startswith("_")
    }


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
