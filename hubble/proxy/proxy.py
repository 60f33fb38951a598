"""A proxy, or one of its workers, as one object to run."""

from __future__ import annotations

import dataclasses
import logging
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import gevent
from gevent.event import Event

from hubble.base.errors import HubbleError, LinkClosed, ProtocolError, UsageError
from hubble.base.floodlog import FloodLog
from hubble.base.keepalive import keep_running
from hubble.base.runtimedir import BLOCKED, worker_socket
from hubble.directory import Directory, DirectoryError, LocalDirectory, Worker
from hubble.directory.steady import SteadyDirectory
from hubble.mesh.cluster import Cluster
from hubble.mesh.mesh import Mesh
from hubble.mesh.sockets import listen_on_path
from hubble.policy import Authorizer, GrantAll, guarded
from hubble.protocol.codec import encode
from hubble.protocol.messages import GoAway
from hubble.proxy.gateways.admission import Admission, Caller
from hubble.proxy.gateways.balance import Balance
from hubble.proxy.gateways.blocks import Blocks
from hubble.proxy.gateways.gateway import Gateway
from hubble.proxy.gateways.limits import AbuseLimits
from hubble.proxy.gateways.registry import Gateways
from hubble.proxy.http.app import Application, Environ, WSGIApplication
from hubble.proxy.lease import Lease
from hubble.proxy.sessions.ending import end
from hubble.proxy.sessions.kicks import Kicks
from hubble.proxy.sessions.opener import Opener
from hubble.proxy.sessions.registry import TAKE_TIMEOUT, SessionRegistry
from hubble.proxy.sessions.relay import Relay
from hubble.proxy.sessions.revocation import Revocation
from hubble.proxy.sessions.routes import Routes
from hubble.proxy.subscriber import Guarded, Subscriber
from hubble.proxy.watch.watch import Watch
from hubble.transport.addresses import Socket
from hubble.transport.bind import begin_to_listen, parse_listen
from hubble.transport.endpoint import endpoint
from hubble.transport.link import Link
from hubble.transport.listen import open_listener
from hubble.transport.peer import Peer
from hubble.transport.reader import Handle
from hubble.transport.serve.server import LinkServer, ServerOptions, SharedLoad

log = logging.getLogger(__name__)

DEFAULT_LISTEN = ":8080"
POLICY_INTERVAL = 1.0
"""Seconds between two checks whether the policy's file has changed."""
CLOSING = 0.1
"""Seconds to wait until all workers that drain together have stopped accepting.

Otherwise an agent could move to a worker that is about to drain as well.
"""


@dataclass(frozen=True)
class ProxyOptions:
    """The settings of a proxy.

    hello_timeout: seconds within which the peer of a new link must send its Handshake. fallback: handles HTTP requests
    that do not open a link. reauthorize: seconds between two rounds in which the policy decides again about all live
    gateways and sessions; None: only after the policy has changed.
    """

    hello_timeout: float = 10.0
    reauthorize: float | None = None
    limits: AbuseLimits = field(default_factory=AbuseLimits)
    server: ServerOptions = field(default_factory=ServerOptions)
    fallback: WSGIApplication | None = None


class Service(Protocol):
    """A service that runs beside a proxy from its attachment until the proxy stops, such as the admin listener."""

    def start(self) -> None:
        """Start serving."""

    def stop(self) -> None:
        """Stop serving."""


class Proxy:
    """Serves agents on `listen`, written `[host]:port` (port 0: any free port), or on an already bound `listener`.

    Workers that share a `runtime_dir`, a private directory, form one proxy. With a `cluster`, the workers of several
    machines form one proxy. Workers that share the listener exchange their `load`. `subscriber` receives the proxy's
    events; by default it is a Watch. Call `run`, or `start` and later `stop`.
    """

    def __init__(
        self,
        listen: str = DEFAULT_LISTEN,
        authorizer: Authorizer | None = None,
        *,
        options: ProxyOptions | None = None,
        listener: Socket | None = None,
        runtime_dir: Path | None = None,
        cluster: Cluster | None = None,
        load: SharedLoad | None = None,
        subscriber: Subscriber | None = None,
    ) -> None:
        self._address = parse_listen(listen)
        self._listener = listener
        self._options = options or ProxyOptions()
        self._authorizer = guarded(authorizer or GrantAll())
        self._runtime_dir = runtime_dir
        self._cluster = cluster or Cluster()
        self._load = load
        self.me = _new_worker(runtime_dir, self._cluster.node)
        self._directory = _open_directory(runtime_dir, self._cluster)
        alone = isinstance(self._directory, LocalDirectory)
        secret, tls = self._cluster.secret, self._cluster.tls
        self.mesh = None if alone else Mesh(self.me, self._directory, self._serve, secret=secret, tls=tls)
        self._watch = subscriber or Watch(self.me, self._authorizer, runtime_dir)
        self._subscriber = Guarded(self._watch)
        self.gateways = Gateways(self.me, self._directory, self.mesh, self._subscriber)
        self.routes = Routes()
        self.sessions = SessionRegistry(self._subscriber, take_elsewhere=None if alone else self._take_session)
        self.blocks = Blocks(runtime_dir / BLOCKED if runtime_dir else None)
        self.kicks = Kicks(self.gateways, self.sessions, self.routes, self.blocks)
        self._assemble()
        self._services: list[Service] = []
        self._links: set[Link] = set()
        self._flood_log = FloodLog(log)
        self._server: LinkServer | None = None
        self._greenlets: list[gevent.Greenlet] = []
        self._stopping = False
        self._going_away = False
        self._stopped = Event()

    def _assemble(self) -> None:
        """Create the parts that only the proxy itself uses."""
        subscriber, limits, authorizer = self._subscriber, self._options.limits, self._authorizer
        self._admission = Admission(
            self.gateways, authorizer, self._options.hello_timeout, subscriber, self.blocks, limits
        )
        self._opener = Opener(self.gateways, self.routes, self.sessions, self.kicks, authorizer, subscriber, limits)
        end_route = partial(end, self.routes, self.sessions)
        self._revocation = Revocation(self.gateways, self.routes, authorizer, end_route)
        if self.mesh is not None:
            self.mesh.methods["give_up_session"] = lambda arguments: self.sessions.give_up(arguments["session"])

    def run(self) -> None:
        """Start, and serve until `stop` is called. Raises ListenError."""
        self.start()
        self.wait()

    def start(self) -> tuple[str, int]:
        """Start serving; return the address and port. Raises ListenError."""
        listener = self._listener or open_listener(*self._address)
        if self.mesh is not None:
            self.mesh.start(*self._listen_for_workers())
        lease = Lease(self.me, self._directory, self.gateways, self.blocks, self.mesh, self._runtime_dir)
        lease.join()
        self._greenlets = [
            keep_running("the lease in the directory", lease.keep),
            keep_running("watching the policy", self._watch_policy),
            keep_running("expiring sessions", self.sessions.expire_regularly),
        ]
        if self._load is not None:
            balance = Balance(self.gateways, self.routes, self._load)
            self._greenlets.append(keep_running("balancing the workers", balance.run))
        server, fallback = self._options.server, self._options.fallback
        application = Application(self.serve_link, self.trouble, path=server.path, fallback=fallback)
        begin_to_listen(listener)
        self._server = LinkServer(listener, application, server, self._load)
        self._server.start()
        self._subscriber.started(self.gateways, self.sessions, self.routes)
        host, port = listener.getsockname()[:2]
        if self._listener is None:
            log.info("listening on %s://%s", "https" if server.tls else "http", endpoint(host, port))
        return host, port

    @property
    def watch(self) -> Watch:
        """Return the Watch of a proxy that was created without another subscriber."""
        assert isinstance(self._watch, Watch)
        return self._watch

    def attach(self, service: Service) -> None:
        """Start a service; it stops when the proxy stops."""
        self._services.append(service)
        service.start()

    def wait(self) -> None:
        """Wait until the proxy has stopped."""
        self._stopped.wait()

    def drain(self, seconds: float, *, replaced: bool = False) -> None:
        """Stop accepting, and ask the agents to move elsewhere; stop when all have moved, or after `seconds`.

        replaced: a successor has taken over the services' listeners and serves them for both proxies.
        """
        if self._server is None or self._going_away:
            return
        self._going_away = True
        self._server.close()
        if replaced:
            self._stop_services()
        if self._load is not None:
            gevent.sleep(CLOSING)
        for gateway in self.gateways:
            _send_away(gateway, seconds)
        with gevent.Timeout(seconds, False):
            while self._links:  # connections accepted before may still add links
                next(iter(self._links)).wait_closed()
                gevent.sleep(0.01)  # the link's own greenlet removes it from the set
        self.stop()

    def reload(self) -> None:
        """Reload the policy and the certificates, and reopen the event files.

        Raises UsageError if one of them is unusable; the others are reloaded nevertheless.
        """
        readers = [self._authorizer.reload]
        if self._options.server.tls is not None:
            readers.append(self._options.server.tls.reload)
        problems = []
        for read_again in readers:
            try:
                read_again()
            except UsageError as error:
                problems.append(str(error))
        self._subscriber.reload()
        gevent.spawn(self._revocation.ask_again)
        if problems:
            raise UsageError("; ".join(problems))

    def try_to_reload(self) -> str:
        """Reload; return a message about the files that are unusable and stay as they were, or ""."""
        try:
            self.reload()
        except HubbleError as error:
            return str(error)
        return ""

    def stop(self) -> None:
        """Stop accepting, and close the agents' links."""
        if self._server is None or self._stopping:
            return
        self._stopping = self._going_away = True
        self._subscriber.stopping()
        self._server.close()
        gevent.killall(self._greenlets)
        links = list(self._links)
        for link in links:
            link.close(1001, "the proxy is shutting down")
        gevent.joinall([gevent.spawn(link.wait_closed, 2.0) for link in links])
        if self.mesh is not None:
            self.mesh.stop()
        if self.me.address:
            Path(self.me.address.removeprefix("unix:")).unlink(missing_ok=True)
        try:
            self._directory.leave(self.me.id)
        except DirectoryError as error:
            log.warning("cannot remove this worker from the directory; its lease will expire: %s", error)
        self._directory.close()
        self._stop_services()
        self._subscriber.stopped()
        self._stopped.set()

    def _stop_services(self) -> None:
        for service in self._services:
            service.stop()
        self._services.clear()

    def trouble(self) -> str:
        """Return in a few words why a load balancer should send no more agents here, or "" if it should."""
        return "the proxy is shutting down" if self._going_away else self._directory.trouble

    # Links.

    def serve_link(self, link: Link, environ: Environ) -> None:
        """Serve an upgraded link until it ends."""
        caller = Caller.from_environ(environ)
        if len(self._links) - len(self.gateways) >= self._options.limits.strangers:
            why = "too many links have not sent a Handshake yet"
            self._log_closed(caller, why)
            link.abort(why)
            return
        self._links.add(link)
        try:
            gateway = self._admission.admit(link, caller)
            if gateway is not None:
                if self._going_away:  # the link was accepted before the drain began
                    _send_away(gateway, 0)
                self._serve_agent(gateway)
        except LinkClosed as error:
            log.debug("link from %s ended: %s", caller.address, error)
        except ProtocolError as error:
            self._log_closed(caller, str(error))
            link.close(1002, str(error))
            link.wait_closed(2.0)
        finally:
            self._links.discard(link)

    def _log_closed(self, caller: Caller, why: str) -> None:
        self._flood_log.log(
            logging.WARNING, "links closed", caller.address, "closed a link from %s: %s", caller.address, why
        )

    def _serve_agent(self, gateway: Gateway) -> None:
        try:
            self._serve(gateway, gateway.link.serve)
        finally:
            why = gateway.link.why or "protocol error"
            if self.gateways.unregister(gateway, why):
                log.info("gateway %s unregistered: %s", gateway.name, why, extra={"gateway": gateway.name})

    def _serve(self, peer: Peer, read: Callable[[Handle], None]) -> None:
        relay = Relay(peer, self.routes, self._opener, self.sessions)
        try:
            read(relay.serve)
        finally:
            relay.lost()

    # The policy.

    def _watch_policy(self) -> None:
        """Reload a changed policy file; reauthorize after a change and at the configured interval."""
        interval, asked = self._options.reauthorize, time.monotonic()
        while True:
            gevent.sleep(POLICY_INTERVAL)
            changed = self._authorizer.reload_if_changed()
            if changed or (interval is not None and time.monotonic() - asked >= interval):
                self._revocation.ask_again()
                asked = time.monotonic()

    # The other workers.

    def _take_session(self, session: str) -> Mapping[str, Any] | None:
        """Return another worker's record of a session, which that worker then forgets, or None."""
        assert self.mesh is not None
        answers = self.mesh.call_all("give_up_session", timeout=TAKE_TIMEOUT, session=session)
        return next((answer for worker, answer in answers.items() if worker != self.me.id and answer), None)

    def _listen_for_workers(self) -> list[Socket]:
        listeners = []
        if self.me.address:
            listeners.append(listen_on_path(Path(self.me.address.removeprefix("unix:"))))
        if self._cluster.host:
            listener, remote = self._cluster.listen()
            self.me = dataclasses.replace(self.me, remote=remote)
            listeners.append(listener)
        return listeners


def _send_away(gateway: Gateway, seconds: float) -> None:
    """Ask an agent to move elsewhere within `seconds`, unless it speaks protocol 0.1."""
    if gateway.resumable:
        gateway.link.send(encode(GoAway(round(seconds))))


def _new_worker(runtime_dir: Path | None, node: str) -> Worker:
    worker_id = secrets.token_hex(8)
    return Worker(worker_id, f"unix:{worker_socket(runtime_dir, worker_id)}" if runtime_dir else "", node)


def _open_directory(runtime_dir: Path | None, cluster: Cluster) -> Directory:
    if cluster.directory is not None:
        return cluster.open_directory()
    return SteadyDirectory(runtime_dir) if runtime_dir else LocalDirectory()
