"""The proxy, or one worker of it, as one object to run."""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import gevent
from gevent import socket
from gevent.event import Event

from hubble.directory import Directory, LocalDirectory, Worker
from hubble.directory.sqlite import SQLiteDirectory
from hubble.errors import LinkClosed, ProtocolError, UsageError
from hubble.policy import Authorizer, GrantAll
from hubble.protocol.codec import encode
from hubble.protocol.messages import GoAway
from hubble.proxy.app import Application, Environ
from hubble.proxy.gateways import Gateways
from hubble.proxy.mesh import Mesh
from hubble.proxy.opening import Opening
from hubble.proxy.registration import Registration
from hubble.proxy.relay import Relay
from hubble.proxy.routes import Leg, Routes
from hubble.transport.addresses import Socket, endpoint
from hubble.transport.link import Keepalive, Link
from hubble.transport.listen import open_listener
from hubble.transport.server import LinkServer

log = logging.getLogger(__name__)

DEFAULT_LISTEN = ":8080"
RENEW_INTERVAL = 2.0
"""Seconds between a worker's signs of life in the directory."""


@dataclass(frozen=True)
class ProxyOptions:
    """Times are in seconds. hello_timeout: how long a new link may take to say who it is."""

    hello_timeout: float = 10.0
    keepalive: Keepalive = field(default_factory=Keepalive)


class Proxy:
    """Serves agents on `listen`, `[host]:port` (port 0: a free one), or on a `listener` that is bound already.

    With a `runtime_dir`, a private directory that several workers share, it is one of them, and together they are one
    proxy. Call `run`, or `start` and later `stop`.
    """

    def __init__(
        self,
        listen: str = DEFAULT_LISTEN,
        authorizer: Authorizer | None = None,
        *,
        options: ProxyOptions | None = None,
        listener: Socket | None = None,
        runtime_dir: Path | None = None,
    ) -> None:
        self._address = parse_listen(listen)
        self._listener = listener
        self._options = options or ProxyOptions()
        self._authorizer = authorizer or GrantAll()
        self._me = _new_worker(runtime_dir)
        self._directory: Directory = (
            SQLiteDirectory(runtime_dir / "directory.sqlite") if runtime_dir else LocalDirectory()
        )
        self._mesh = Mesh(self._me, self._directory, self._serve) if runtime_dir else None
        self.gateways = Gateways(self._me, self._directory, self._mesh)
        self.routes = Routes()
        self._registration = Registration(self.gateways, self._authorizer, self._options.hello_timeout)
        self._opening = Opening(self.gateways, self.routes, self._authorizer)
        self._links: set[Link] = set()
        self._server: LinkServer | None = None
        self._keeper: gevent.Greenlet | None = None
        self._stopping = False
        self._stopped = Event()

    def run(self) -> None:
        """Start, and serve until `stop`. Raises ListenError."""
        self.start()
        self.wait()

    def start(self) -> tuple[str, int]:
        """Begin to serve: the address and port. Raises ListenError."""
        listener = self._listener or open_listener(*self._address)
        if self._mesh is not None:
            self._mesh.start(_listen_on_path(self._me.address.removeprefix("unix:")))
        self._directory.join(self._me)
        self._keeper = gevent.spawn(self._keep_lease)
        self._server = LinkServer(listener, Application(self.serve_link), keepalive=self._options.keepalive)
        self._server.start()
        host, port = listener.getsockname()[:2]
        if self._listener is None:
            log.info("listening on http://%s", endpoint(host, port))
        return host, port

    def wait(self) -> None:
        """Wait until the proxy has stopped."""
        self._stopped.wait()

    def drain(self, seconds: float) -> None:
        """Accept no more, and have the agents move elsewhere; stop once they have, or after `seconds`."""
        if self._server is None or self._stopping:
            return
        self._server.close()
        for leg in self.gateways:
            if leg.resumable:
                leg.link.send(encode(GoAway(round(seconds))))
        with gevent.Timeout(seconds, False):
            for link in list(self._links):
                link.wait_closed()
        self.stop()

    def reload(self) -> None:
        """Read again what can be read again."""
        self._authorizer.reload()

    def stop(self) -> None:
        """Accept no more, tell the agents to go elsewhere, and close their links."""
        if self._server is None or self._stopping:
            return
        self._stopping = True
        self._server.close()
        if self._keeper is not None:
            self._keeper.kill()
        links = list(self._links)
        for link in links:
            link.close(1001, "the proxy is shutting down")
        gevent.joinall([gevent.spawn(link.wait_closed, 2.0) for link in links])
        if self._mesh is not None:
            self._mesh.stop()
            Path(self._me.address.removeprefix("unix:")).unlink(missing_ok=True)
        self._directory.leave(self._me.id)
        self._directory.close()
        self._stopped.set()

    # One link.

    def serve_link(self, link: Link, environ: Environ) -> None:
        """Serve an upgraded link until it ends."""
        self._links.add(link)
        address = environ.get("REMOTE_ADDR", "")
        try:
            messages = link.messages()
            leg = self._registration.admit(link, messages, address)
            if leg is not None:
                self._serve_agent(leg, messages)
        except LinkClosed as error:
            log.debug("a link from %s ended: %s", address, error)
        except ProtocolError as error:
            log.warning("a link from %s is closed: %s", address, error)
            link.close(1002, str(error))
            link.wait_closed(2.0)
        finally:
            self._links.discard(link)

    def _serve_agent(self, leg: Leg, messages: Iterator[bytes]) -> None:
        try:
            self._serve(leg, messages)
        finally:
            if self.gateways.unregister(leg):
                why = leg.link.why or "the protocol was broken"
                log.info("gateway %s: gone: %s", leg.name, why, extra={"gateway": leg.name})

    def _serve(self, leg: Leg, messages: Iterator[bytes]) -> None:
        relay = Relay(leg, self.routes, self._opening)
        try:
            for data in messages:
                relay.serve(data)
        finally:
            relay.lost()

    # The lease.

    def _keep_lease(self) -> None:
        while True:
            gevent.sleep(RENEW_INTERVAL)
            if not self._directory.renew(self._me):
                log.warning("this worker was taken for dead: it registers its %d gateways again", len(self.gateways))
                self._directory.join(self._me)
                self.gateways.claim_again()


def parse_listen(text: str) -> tuple[str, int]:
    """The host ("" for every address) and the port of `[host]:port`. Raises UsageError."""
    match = re.fullmatch(r"(?P<host>\[[^]]*\]|[^:]*):(?P<port>\d{1,5})", text)
    if match is None or int(match["port"]) > 65535:
        raise UsageError(f"the address to listen on, {text!r}, should look like :8080, 127.0.0.1:8080 or [::1]:8080")
    return match["host"].strip("[]"), int(match["port"])


def _new_worker(runtime_dir: Path | None) -> Worker:
    worker_id = secrets.token_hex(8)
    return Worker(worker_id, f"unix:{runtime_dir / worker_id}.sock" if runtime_dir else "")


def _listen_on_path(path: str) -> Socket:
    listener: Socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen(128)
    return listener
