"""The proxy, or one worker of it, as one object to run."""

from __future__ import annotations

import dataclasses
import logging
import secrets
import time
from collections.abc import Iterator, Mapping
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
from hubble.transport.serve.server import LinkServer, ServerOptions, SharedLoad

log = logging.getLogger(__name__)

DEFAULT_LISTEN = ":8080"
POLICY_INTERVAL = 1.0
"""Seconds between looks at whether the policy's file has changed."""
CLOSING = 0.1
"""Seconds in which all workers that drain together stop accepting: an agent would else move to the next of them."""


@dataclass(frozen=True)
class ProxyOptions:
    """hello_timeout: seconds in which a new link must say who it is. fallback: answers requests that are no links'.

    reauthorize: seconds after which the policy is asked again about all that is live; None: only after a change.
    """

    hello_timeout: float = 10.0
    reauthorize: float | None = None
    limits: AbuseLimits = field(default_factory=AbuseLimits)
    server: ServerOptions = field(default_factory=ServerOptions)
    fallback: WSGIApplication | None = None


class Service(Protocol):
    """What runs beside a proxy, from when it is attached until the proxy stops: the admin listener."""

    def start(self) -> None:
        """Begin to serve."""

    def stop(self) -> None:
        """Stop serving."""


class Proxy:
    """Serves agents on `listen`, `[host]:port` (port 0: a free one), or on a `listener` that is bound already.

    With a `runtime_dir`, a private directory that several workers share, it is one of them, and together they are one
    proxy; with a `cluster`, those of several machines are. Workers that share the listener know each other's `load`.
    `subscriber` is told what happens; unless given it is a Watch. Call `run`, or `start` and later `stop`.
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
        """Make the parts that nobody else asks."""
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
        """Start, and serve until `stop`. Raises ListenError."""
        self.start()
        self.wait()

    def start(self) -> tuple[str, int]:
        """Begin to serve: the address and port. Raises ListenError."""
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
        """What watches this proxy, unless it was given another subscriber."""
        assert isinstance(self._watch, Watch)
        return self._watch

    def attach(self, service: Service) -> None:
        """Start a service, which stops with the proxy."""
        self._services.append(service)
        service.start()

    def wait(self) -> None:
        """Wait until the proxy has stopped."""
        self._stopped.wait()

    def drain(self, seconds: float, *, replaced: bool = False) -> None:
        """Accept no more, and have the agents move elsewhere; stop once they have, or after `seconds`.

        If it was `replaced` the listeners of its services are its successor's now, which answers for both.
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
            while self._links:  # more may come: connections that were accepted before
                next(iter(self._links)).wait_closed()
                gevent.sleep(0.01)  # its own greenlet takes it out
        self.stop()

    def reload(self) -> None:
        """Read again what can be read again. Raises UsageError for what cannot be used; all else is read the same."""
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
        """Reload: what could not be used, and stays as it was, or ""."""
        try:
            self.reload()
        except HubbleError as error:
            return str(error)
        return ""

    def stop(self) -> None:
        """Accept no more, tell the agents to go elsewhere, and close their links."""
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
            log.warning("this worker's lease must run out: %s", error)
        self._directory.close()
        self._stop_services()
        self._subscriber.stopped()
        self._stopped.set()

    def _stop_services(self) -> None:
        for service in self._services:
            service.stop()
        self._services.clear()

    def trouble(self) -> str:
        """Why no more agents should be sent here for now, in a few words; "" if they may."""
        return "the proxy is going away" if self._going_away else self._directory.trouble

    # One link.

    def serve_link(self, link: Link, environ: Environ) -> None:
        """Serve an upgraded link until it ends."""
        caller = Caller.from_environ(environ)
        if len(self._links) - len(self.gateways) >= self._options.limits.strangers:
            why = "too many links have not said yet who they are"
            self._tell_closed(caller, why)
            link.abort(why)
            return
        self._links.add(link)
        try:
            messages = link.messages()
            gateway = self._admission.admit(link, messages, caller)
            if gateway is not None:
                if self._going_away:  # its link had been accepted before
                    _send_away(gateway, 0)
                self._serve_agent(gateway, messages)
        except LinkClosed as error:
            log.debug("a link from %s ended: %s", caller.address, error)
        except ProtocolError as error:
            self._tell_closed(caller, str(error))
            link.close(1002, str(error))
            link.wait_closed(2.0)
        finally:
            self._links.discard(link)

    def _tell_closed(self, caller: Caller, why: str) -> None:
        self._flood_log.log(
            logging.WARNING, "links closed", caller.address, "a link from %s is closed: %s", caller.address, why
        )

    def _serve_agent(self, gateway: Gateway, messages: Iterator[bytes]) -> None:
        try:
            self._serve(gateway, messages)
        finally:
            why = gateway.link.why or "the protocol was broken"
            if self.gateways.unregister(gateway, why):
                log.info("gateway %s: gone: %s", gateway.name, why, extra={"gateway": gateway.name})

    def _serve(self, peer: Peer, messages: Iterator[bytes]) -> None:
        relay = Relay(peer, self.routes, self._opener, self.sessions)
        try:
            for data in messages:
                relay.serve(data)
        finally:
            relay.lost()

    # The policy.

    def _watch_policy(self) -> None:
        """Look whether the policy's file has changed; ask again about what is live, after that and every so often."""
        interval, asked = self._options.reauthorize, time.monotonic()
        while True:
            gevent.sleep(POLICY_INTERVAL)
            changed = self._authorizer.reload_if_changed()
            if changed or (interval is not None and time.monotonic() - asked >= interval):
                self._revocation.ask_again()
                asked = time.monotonic()

    # The other workers.

    def _take_session(self, session: str) -> Mapping[str, Any] | None:
        """Return what another worker knows of a session, which it then forgets."""
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
    """Tell an agent that it has so many seconds to move elsewhere, if it understands that."""
    if gateway.resumable:
        gateway.link.send(encode(GoAway(round(seconds))))


def _new_worker(runtime_dir: Path | None, node: str) -> Worker:
    worker_id = secrets.token_hex(8)
    return Worker(worker_id, f"unix:{worker_socket(runtime_dir, worker_id)}" if runtime_dir else "", node)


def _open_directory(runtime_dir: Path | None, cluster: Cluster) -> Directory:
    if cluster.directory is not None:
        return cluster.open_directory()
    return SteadyDirectory(runtime_dir) if runtime_dir else LocalDirectory()
