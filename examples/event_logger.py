#!/usr/bin/env python3
"""Run a proxy from Python with a logger that matches each event's type.

    python examples/event_logger.py 127.0.0.1:8080

The original's library is used in the same way: a main function that installs a logger and runs the proxy.
"""

from gevent import monkey

monkey.patch_all()

import sys  # noqa: E402

import hubble  # noqa: E402
from hubble.events import (  # noqa: E402
    AuthorizationDenied,
    CloseSession,
    Event,
    GatewayRegistration,
    GatewayUnregistration,
    OpenSession,
)
from hubble.policy import ConnectionRequest, FunctionPolicy  # noqa: E402


class PrintingLogger:
    """Prints some kinds of events."""

    def log(self, event: Event) -> None:
        match event:
            case GatewayRegistration():
                print(f"{event.gateway} registered from {event.address}", flush=True)
            case GatewayUnregistration():
                print(f"{event.gateway} unregistered after {event.duration:.0f} s: {event.reason}", flush=True)
            case OpenSession(success=True):
                print(f"{event.source} connected to {event.host}:{event.port} through {event.gateway}", flush=True)
            case OpenSession():
                print(f"{event.source} failed to connect to {event.host}:{event.port}: {event.error}", flush=True)
            case CloseSession():
                total = event.bytes_to_exit + event.bytes_to_entry
                print(f"session {event.session} ended ({event.reason}) after {total} bytes", flush=True)
            case AuthorizationDenied():
                print(f"{event.source} was denied: {event.reason}", flush=True)


def decide(request: ConnectionRequest) -> bool:
    """Allow SSH and nothing else."""
    return request.port == 22


def main() -> None:
    hubble.install_event_logger(PrintingLogger())
    listen = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:8080"
    hubble.Proxy(listen, FunctionPolicy(decide)).run()


if __name__ == "__main__":
    main()
