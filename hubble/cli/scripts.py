"""The console scripts: apply gevent's patches where needed, then run the program."""

from __future__ import annotations

import sys

from hubble.base.descriptors import ensure_standard_descriptors, raise_descriptor_limit


def proxy() -> int:
    """Run hubble-proxy: a command, or the supervisor, whose workers apply the patches themselves."""
    ensure_standard_descriptors()
    if sys.argv[1:] and not sys.argv[1].startswith("-"):
        from hubble.cli.commands import main

        return main()
    from hubble.cli import strays
    from hubble.cli.proxy import main as serve

    strays.catch()
    return serve()


def agent() -> int:
    """Run hubble-agent."""
    ensure_standard_descriptors()
    raise_descriptor_limit()
    from gevent import monkey

    monkey.patch_all()
    from hubble.cli import eventloop, strays
    from hubble.cli.agent import main

    strays.catch()
    eventloop.log_hub_errors()
    return main()
