"""The admin listener."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gevent
from gevent import socket
from gevent.pool import Pool
from gevent.select import select

from hubble.admin.app import DISCONNECTED, AdminApplication
from hubble.admin.service import Admin, BeginDrain
from hubble.admin.views import Views
from hubble.proxy.proxy import Proxy
from hubble.transport.addresses import Socket
from hubble.transport.bind import begin_to_listen
from hubble.transport.serve.strict import StrictHandler, StrictServer

CONNECTIONS = 100
REQUEST_TIMEOUT = 20.0
"""Seconds within which a request must arrive, and after which an idle connection is closed."""


class AdminHandler(StrictHandler):
    """One HTTP connection, with a time limit for slow and idle clients."""

    def handle(self) -> None:
        # Head and body are two packets; without TCP_NODELAY the second waits for the first one's acknowledgement.
        if self.socket.family != socket.AF_UNIX:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            super().handle()
        finally:
            # The environment refers to this object by DISCONNECTED; a cycle would keep the buffers until a collection.
            self.__dict__.pop("environ", None)

    def handle_one_request(self) -> Any:
        with gevent.Timeout(REQUEST_TIMEOUT, False) as self._waiting:
            return super().handle_one_request()
        return None  # too slow: the connection is closed

    def run_application(self) -> None:
        self._waiting.close()
        self.environ[DISCONNECTED] = self._disconnected
        super().run_application()

    def _disconnected(self, seconds: float) -> bool:
        """Wait up to `seconds`; return whether the client has closed the connection or sent unexpected data."""
        readable, _, _ = select([self.socket], [], [], seconds)
        return bool(readable)


def answer_peers(proxy: Proxy) -> Views:
    """Register the methods that other workers' admin listeners call. Call before the proxy starts."""
    views = Views(proxy)
    if proxy.mesh is not None:
        proxy.mesh.methods |= views.methods()
    return views


def serve(
    proxy: Proxy,
    listener: Socket,
    token: str,
    configuration: Mapping[str, Any],
    drain: BeginDrain | None = None,
) -> None:
    """Serve the admin API and the dashboard on `listener` (docs/admin.md) until the proxy stops.

    configuration: the options to show to operators. drain: begins to drain the whole proxy, within the given seconds;
    by default it drains this worker only.
    """
    views = answer_peers(proxy)
    drain = drain or (lambda seconds: gevent.spawn(proxy.drain, seconds))
    proxy.attach(AdminServer(listener, Admin(views, proxy.me, proxy.mesh, configuration, drain), token))


class AdminServer:
    """Serves `admin` on a listening socket to clients that present the token."""

    def __init__(self, listener: Socket, admin: Admin, token: str) -> None:
        self._application = AdminApplication(admin, token)
        self._listener = listener
        self._server = StrictServer(listener, self._application, handler_class=AdminHandler, spawn=Pool(CONNECTIONS))

    def start(self) -> None:
        """Start serving. Raises ListenError."""
        begin_to_listen(self._listener)
        self._server.start()

    def stop(self) -> None:
        """Stop serving."""
        self._application.streams.ending = True
        self._server.stop(timeout=0.2)
