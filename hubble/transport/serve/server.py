"""The server side of a link: gevent-websocket upgrades the connection, and Hubble's own framing takes over."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

import gevent
from gevent import socket
from geventwebsocket.handler import WebSocketHandler
from websockets.protocol import Side

from hubble.base.errors import ProtocolError
from hubble.base.slices import others_if_due
from hubble.transport.addresses import Socket, set_tcp_options
from hubble.transport.endpoint import endpoint
from hubble.transport.link import FIRST_MESSAGE, Keepalive, Link
from hubble.transport.serve import upgrade
from hubble.transport.serve.doorkeeper import Doorkeeper
from hubble.transport.serve.fronts import FrontServers, Misleading, plain_address
from hubble.transport.serve.proxyheader import read_header
from hubble.transport.serve.servertls import ServerTLS, peer_subject
from hubble.transport.serve.strict import StrictHandler, StrictServer

log = logging.getLogger(__name__)

library_log = logging.getLogger("hubble.gevent_websocket")
library_log.setLevel(logging.ERROR)  # clients cause its messages about upgrades, and this module logs those itself

HEAD_TIMEOUT = 10.0
FORWARDING = ("HTTP_FORWARDED", "HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_HOST", "HTTP_X_FORWARDED_PROTO")
"""Headers that only trusted front servers may set. They are removed from other requests."""
YIELD = 0.01
"""Seconds for which a process leaves a connection to other processes that have fewer."""
TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
LINK = "hubble.link"
"""The key of an upgraded request's Link in the WSGI environment."""
SUBJECT = "hubble.certificate_subject"
"""The key of the subject of the client's verified certificate, "" without one."""


@dataclass(frozen=True)
class ServerOptions:
    """Options of the server.

    `path`: links are accepted at this path and below; "" for any path. `tls`: None if this server does not use TLS.
    """

    keepalive: Keepalive = field(default_factory=Keepalive)
    tls: ServerTLS | None = None
    fronts: FrontServers = field(default_factory=FrontServers)
    path: str = ""

    def is_for_links(self, path: str) -> bool:
        """Return whether links are accepted at the path of a request."""
        return not self.path or path == self.path or path.startswith(f"{self.path}/")


class LinkHandler(StrictHandler, WebSocketHandler):  # type: ignore[misc]  # the library has no types
    """One HTTP connection. Passes a Link to the application if the client asked for a WebSocket."""

    @property
    def options(self) -> ServerOptions:
        options: ServerOptions = self.server.options
        return options

    def handle_one_request(self) -> Any:
        others_if_due()  # pywsgi serves pipelined requests without a pause
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
        # The library reads a body to its end, however slowly it arrives.
        self._answer_timeout = gevent.spawn_later(HEAD_TIMEOUT, self._cut)
        try:
            super().handle_one_response()
        finally:
            self._answer_timeout.kill()

    def _cut(self) -> None:
        with suppress(OSError):  # already closed
            self.socket.shutdown(socket.SHUT_RDWR)

    def run_application(self) -> None:
        environ, fronts = self.environ, self.options.fronts
        environ["RAW_URI"] = self.path
        environ[SUBJECT] = peer_subject(self.socket) or ""
        peer = environ.get("REMOTE_ADDR", "")
        try:
            environ["REMOTE_ADDR"] = fronts.client_address(peer, environ)
        except Misleading as error:
            self.note("misleading headers", "refused a request from %s: %s", peer, error,
                      level=logging.WARNING)  # fmt: skip
            self.start_response("400 Bad Request", [("Content-Type", "text/plain; charset=utf-8")])
            self.result = [f"{error}\n".encode()]
            self.process_result()
            return
        if not fronts.trusts(peer):
            for key in FORWARDING:
                environ.pop(key, None)
        super().run_application()

    def upgrade_websocket(self) -> Any:
        """Upgrade a valid request. A request that passes `upgrade` also passes the library's checks."""
        environ = self.environ
        if not self.options.is_for_links(environ["PATH_INFO"]) or not upgrade.is_upgrade(environ):
            return None  # for the application to answer
        refusal = upgrade.refusal(environ)
        if refusal is None:
            return super().upgrade_websocket()
        message = "refused a request from %s for a link: %s"
        self.note(f"links refused with {refusal.status[:3]}", message, environ["REMOTE_ADDR"], refusal.text)
        self.start_response(refusal.status, [("Content-Type", "text/plain; charset=utf-8"), *refusal.headers])
        return [f"{refusal.text}\n".encode()]

    def run_websocket(self) -> None:
        self._answer_timeout.kill()
        set_tcp_options(self.socket)
        link = Link(
            self.socket,
            Side.SERVER,
            leftover=self._buffered(),
            first_limit=FIRST_MESSAGE,
            keepalive=self.options.keepalive,
        )
        self.environ[LINK] = link
        # The library's WebSocket would send a Close frame when it is collected, but the link owns the connection.
        self.websocket.raw_write = lambda data: None
        self.environ["wsgi.websocket"] = None
        del self.websocket
        try:
            self.application(self.environ, lambda status, headers, exc_info=None: None)
        finally:
            link.abort("the proxy is done with it")

    def _buffered(self) -> bytes:
        """Return the bytes that pywsgi has read past the request, without waiting for more."""
        self.socket.settimeout(0)
        try:
            return self.rfile.read1(65536) or b""
        except BlockingIOError:
            return b""
        finally:
            self.socket.settimeout(None)

    @property
    def logger(self) -> logging.Logger:
        return library_log


Application = Callable[[dict[str, Any], Callable[..., Any]], Any]


class SharedLoad(Protocol):
    """The loads of the processes that accept from one listener (hubble/supervisor/load.py)."""

    def set(self, connections: int) -> None:
        """Set the number of this process's connections."""

    def withdraw(self) -> None:
        """Record that this process accepts no more connections."""

    def is_above_others(self) -> bool:
        """Return whether another process has clearly fewer connections."""

    def excess(self) -> int:
        """Return the number of connections beyond this process's share, 0 if it is too small to move any."""


class LinkServer(StrictServer):
    """A pywsgi server on a listening socket of the caller. Other processes may share it: `load` has their loads.

    A process with more connections than another waits YIELD seconds before it accepts one, so that the other process
    can take it.
    """

    def __init__(
        self,
        listener: Socket,
        application: Application,
        options: ServerOptions | None = None,
        load: SharedLoad | None = None,
    ) -> None:
        self.options = options or ServerOptions()
        self._load = load
        self._connections = 0
        self._has_yielded = False
        environ = {
            "SERVER_NAME": listener.getsockname()[0],  # the server would otherwise resolve a name
            "wsgi.url_scheme": "https" if self.options.tls else "http",
        }
        super().__init__(listener, application, handler_class=LinkHandler, environ=environ)
        self._doorkeeper = Doorkeeper(answers=self.options.tls is None)
        self.max_accept = 1  # open links run before the next connection is upgraded
        if load is not None:
            load.set(0)

    def do_read(self) -> Any:
        """Return the next connection and its address, or None. The library calls this when a connection waits."""
        accepted = super().do_read()
        return accepted if accepted is None or self._doorkeeper.has_room(accepted[0]) else None

    def accept_failed(self, error: OSError) -> None:
        """Refuse the waiting connection if only the spare descriptor is left for it."""
        if error.errno in (errno.EMFILE, errno.ENFILE):
            with suppress(OSError):
                self._doorkeeper.refuse_one(self.socket)
                return
        super().accept_failed(error)

    def full(self) -> bool:
        """Return whether to leave a waiting connection to other processes for now."""
        if self._load is None or self._has_yielded or not self._load.is_above_others():
            return False
        self._yielding = self.loop.timer(YIELD)  # not the library's own timer, which the library stops now
        self._yielding.start(self._accept_remaining)
        return True

    def _accept_remaining(self) -> None:
        """Accept the connections that the other processes have left. Later ones are offered to them first again."""
        if not self.started:
            return
        self.start_accepting()
        self._has_yielded = True
        try:
            self._do_read()
        finally:
            self._has_yielded = False

    def do_handle(self, *connection: Any) -> None:
        self._count(1)
        super().do_handle(*connection)

    def do_close(self, *connection: Any) -> None:
        """Count the end of a connection. The library calls this after handling it, also after an error."""
        self._count(-1)
        super().do_close(*connection)

    def close(self) -> None:
        """Stop accepting. Accepted connections continue."""
        super().close()
        self._doorkeeper.close()
        if self._load is not None:
            self._load.withdraw()

    def _count(self, more: int) -> None:
        self._connections += more
        if self._load is not None and not self.closed:
            self._load.set(self._connections)

    def handle(self, sock: Socket, address: tuple[Any, ...]) -> None:
        """Serve one connection: first the PROXY header and TLS, then HTTP."""
        host, port = plain_address(address[0]), address[1]
        fronts, tls = self.options.fronts, self.options.tls
        if fronts.proxy_protocol and fronts.trusts(host):
            try:
                with gevent.Timeout(HEAD_TIMEOUT, ProtocolError("it sent no PROXY protocol header in time")):
                    host, port = read_header(sock) or (host, port)
            except (OSError, ProtocolError) as error:
                self.flood.log(logging.INFO, "PROXY headers", host, "closed a connection from %s: %s",
                          endpoint(host, port), error)  # fmt: skip
                return
        if tls is None:
            super().handle(sock, (plain_address(host), port))
            return
        wrapped = tls.wrap_socket(sock)
        try:
            super().handle(wrapped, (plain_address(host), port))
        finally:
            wrapped.close()
