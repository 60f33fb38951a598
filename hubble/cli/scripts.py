"""The console scripts: patch the standard library where blocking code must not block, then go to work."""

from __future__ import annotations

import sys


def proxy() -> int:
    """hubble-proxy: one of its commands, or the supervisor, whose workers patch for themselves."""
    if sys.argv[1:] and not sys.argv[1].startswith("-"):
        from hubble.cli.commands import main
    else:
        from hubble.cli.proxy import main
    return main()


def agent() -> int:
    """hubble-agent."""
    from gevent import monkey

    monkey.patch_all()
    from hubble.cli.agent import main

    return main()
