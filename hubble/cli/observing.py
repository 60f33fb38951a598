"""What a proxy, or each worker of one, is told about those who look on."""

from __future__ import annotations

from argparse import Namespace

from hubble.cli.admin_options import configuration
from hubble.cli.events_options import event_loggers
from hubble.proxy.admin.access import Access
from hubble.proxy.admin.service import Drain
from hubble.proxy.proxy import Proxy
from hubble.transport.addresses import Socket


def observe(
    proxy: Proxy, options: Namespace, admin: tuple[Socket, Access] | None, drain: Drain | None = None
) -> dict[str, str]:
    """Install the event loggers, and serve the admin listener if there is one; before the proxy starts.

    `drain` begins to drain the whole proxy, if that is more than this one. Gives what the ports file should say.
    Raises UsageError.
    """
    for name, logger in event_loggers(options):
        proxy.observer.events.install(logger, name)
    if admin is None:
        return {}
    listener, access = admin
    proxy.serve_admin(listener, access.token, configuration(options), drain)
    return {"admin": access.address}
