"""The console scripts: patch the standard library first, then go to work."""

from __future__ import annotations


def proxy() -> int:
    """hubble-proxy."""
    from gevent import monkey

    monkey.patch_all()
    from hubble.cli.proxy import main

    return main()


def agent() -> int:
    """hubble-agent."""
    from gevent import monkey

    monkey.patch_all()
    from hubble.cli.agent import main

    return main()
