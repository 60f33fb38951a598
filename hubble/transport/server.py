"""The server's side of a link: gevent-websocket's upgrade, behind which our own framing takes over."""

from __future__ import annotations

import binascii
import logging
from collections.abc import Callable
from typing import Any

import gevent
from gevent.pywsgi import WSGIServer
from geventwebsocket.handler import WebSocketHandler
from websockets.protocol import Side

from hubble.transport.addresses import Socket, set_tcp_options
from hubble.transport.link import Keepalive, Link

log = logging.getLogger(__name__)

library_log = logging.getLogger("hubble.gevent_websocket")
library_log.setLevel(logging.ERROR)  # what it says of each upgrade is our client's doing, and logged by us

HEAD_TIMEOUT = 10.0
TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
LINK = "hubble.link"
"""The key of the WSGI environment under which an upgraded request's Link stands."""


class LinkHandler(WebSocketHandler):  # type: ignore[misc]  # the library has no types
    """One HTTP connection: gives its application a Link where the client asked for a WebSocket."""

    keepalive = Keepalive()

    def handle_one_request(self) -> Any:
        self._head_timeout = gevent.Timeout.start_new(HEAD_TIMEOUT)
        try:
            return super().handle_one_request()
        except gevent.Timeout as expired:
            if expired is not self._head_timeout:
                raise
            return "408 Request Timeout", TOO_SLOW
        finally:
            self._head_timeout.close()

    def handle_one_response(self) -> None:
        self._head_timeout.close()
        super().handle_one_response()

    def upgrade_connection(self) -> Any:
        try:
            return super().upgrade_connection()
        except binascii.Error:
            self.start_response("400 Bad Request", [("Content-Type", "text/plain")])
            return [b"Sec-WebSocket-Key is malformed\n"]

    def run_websocket(self) -> None:
        set_tcp_options(self.socket)
        link = Link(self.socket, Side.SERVER, leftover=self._buffered(), keepalive=self.keepalive)
        self.environ[LINK] = link
        # The library's own WebSocket would send a Close frame when it is collected; the connection is the link's now.
        self.websocket.raw_write = lambda data: None
        self.environ["wsgi.websocket"] = None
        del self.websocket
        try:
            self.application(self.environ, lambda status, headers, exc_info=None: None)
        finally:
            link.abort("the proxy is done with it")

    def _buffered(self) -> bytes:
        """What pywsgi has read past the request; without a wait for more."""
        self.socket.settimeout(0)
        try:
            return self.rfile.read1(65536) or b""
        except BlockingIOError:
            return b""
        finally:
            self.socket.settimeout(None)

    def log_request(self) -> None:
        log.debug("%s", self.format_request())

    @property
    def logger(self) -> logging.Logger:
        return library_log


Application = Callable[[dict[str, Any], Callable[..., Any]], Any]


class LinkServer(WSGIServer):  # type: ignore[misc]  # the library has no types
    """A pywsgi server on a listening socket of the caller's."""

    def __init__(self, listener: Socket, application: Application, *, keepalive: Keepalive | None = None) -> None:
        handler = type("Handler", (LinkHandler,), {"keepalive": keepalive or Keepalive()})
        super().__init__(listener, application, handler_class=handler, log=None, error_log=log)
