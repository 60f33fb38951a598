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
"""Seconds that a request may take to arrive, and a connection may be idle."""


class AdminHandler(StrictHandler):
    """One HTTP connection, which cannot be held for ever by a client that says nothing."""

    def handle(self) -> None:
        # Head and body are two packets: without this the second waits for the first one's acknowledgement.
        if self.socket.family != socket.AF_UNIX:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            super().handle()
        finally:
            self.__dict__.pop(
                "environ", None
            )  # leads back here by DISCONNECTED: its buffers would stay until a collection of garbage

    def handle_one_request(self) -> Any:
        with gevent.Timeout(REQUEST_TIMEOUT, False) as self._waiting:
            return super().handle_one_request()
        return None  # too slow: the connection is closed

    def run_application(self) -> None:
        self._waiting.close()
        self.environ[DISCONNECTED] = self._disconnected
        super().run_application()

    def _disconnected(self, seconds: float) -> bool:
        """Wait as long, or until the client closes the connection; whether it has, or says what nobody asked it for."""
        readable, _, _ = select([self.socket], [], [], seconds)
        return bool(readable)


def answer_peers(proxy: Proxy) -> Views:
    """Let the other workers ask this one what their operators want to know; before the proxy starts."""
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
    """Serve the proxy's operators on a listener of their own (docs/admin.md), until the proxy stops.

    `configuration` is shown to them; `drain(seconds)` begins to drain the whole proxy, which is this one unless given.
    """
    views = answer_peers(proxy)
    drain = drain or (lambda seconds: gevent.spawn(proxy.drain, seconds))
    proxy.attach(AdminServer(listener, Admin(views, proxy.me, proxy.mesh, configuration, drain), token))


class AdminServer:
    """Serves `admin` on a listening socket to those who have the token."""

    def __init__(self, listener: Socket, admin: Admin, token: str) -> None:
        self._application = AdminApplication(admin, token)
        self._listener = listener
        self._server = StrictServer(listener, self._application, handler_class=AdminHandler, spawn=Pool(CONNECTIONS))

    def start(self) -> None:
        """Begin to serve. Raises ListenError."""
        begin_to_listen(self._listener)
        self._server.start()

    def stop(self) -> None:
        """Serve no more."""
        self._application.streams.ending = True
        self._server.stop(timeout=0.2)
