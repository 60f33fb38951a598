"""The proxy, as one object to run."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import gevent
from gevent.event import Event

from hubble.errors import LinkClosed, ProtocolError, UsageError
from hubble.policy import Authorizer, GrantAll, RegistrationRequest
from hubble.protocol.codec import decode, encode
from hubble.protocol.messages import RESUMABLE, VERSION, Ack, GoAway, Handshake, Refusal
from hubble.proxy.app import Application, Environ
from hubble.proxy.gateways import Gateways, NameTaken
from hubble.proxy.opening import AUTHORIZATION_ERROR, UNAUTHORIZED, Opening
from hubble.proxy.relay import Relay
from hubble.proxy.routes import MAX_NAME, Leg, Routes
from hubble.transport.addresses import endpoint
from hubble.transport.link import Keepalive, Link
from hubble.transport.listen import open_listener
from hubble.transport.server import LinkServer

log = logging.getLogger(__name__)

DEFAULT_LISTEN = ":8080"


@dataclass(frozen=True)
class ProxyOptions:
    """Times are in seconds. hello_timeout: how long a new link may take to say who it is."""

    hello_timeout: float = 10.0
    keepalive: Keepalive = field(default_factory=Keepalive)


class Proxy:
    """Serves agents on `listen`, `[host]:port` (port 0: a free one). Call `run`, or `start` and later `stop`."""

    def __init__(
        self,
        listen: str = DEFAULT_LISTEN,
        authorizer: Authorizer | None = None,
        *,
        options: ProxyOptions | None = None,
    ) -> None:
        self.gateways = Gateways()
        self.routes = Routes()
        self._address = parse_listen(listen)
        self._options = options or ProxyOptions()
        self._authorizer = authorizer or GrantAll()
        self._opening = Opening(self.gateways, self.routes, self._authorizer)
        self._links: set[Link] = set()
        self._server: LinkServer | None = None
        self._stopped = Event()

    def run(self) -> None:
        """Start, and serve until `stop`. Raises ListenError."""
        self.start()
        self.wait()

    def start(self) -> tuple[str, int]:
        """Begin to serve: the address and port. Raises ListenError."""
        listener = open_listener(*self._address)
        self._server = LinkServer(listener, Application(self.serve_link), keepalive=self._options.keepalive)
        self._server.start()
        host, port = listener.getsockname()[:2]
        log.info("listening on http://%s", endpoint(host, port))
        return host, port

    def wait(self) -> None:
        """Wait until the proxy has stopped."""
        self._stopped.wait()

    def stop(self) -> None:
        """Accept no more, tell the agents to go elsewhere, and close their links."""
        if self._server is None or self._stopped.is_set():
            return
        self._server.close()
        for leg in self.gateways:
            if leg.resumable:
                leg.link.send(encode(GoAway(0)))
        links = list(self._links)
        for link in links:
            link.close(1001, "the proxy is shutting down")
        gevent.joinall([gevent.spawn(link.wait_closed, 2.0) for link in links])
        self._stopped.set()

    # One link.

    def serve_link(self, link: Link, environ: Environ) -> None:
        """Serve an upgraded link until it ends."""
        self._links.add(link)
        address = environ.get("REMOTE_ADDR", "")
        try:
            messages = link.messages()
            leg = self._register(link, messages, address)
            if leg is not None:
                self._serve(leg, messages)
        except LinkClosed as error:
            log.debug("a link from %s ended: %s", address, error)
        except ProtocolError as error:
            log.warning("a link from %s is closed: %s", address, error)
            link.close(1002, str(error))
            link.wait_closed(2.0)
        finally:
            self._links.discard(link)

    def _register(self, link: Link, messages: Iterator[bytes], address: str) -> Leg | None:
        """The leg of an agent that has said who it is, and has its name now; None if it was refused."""
        timeout = self._options.hello_timeout
        with gevent.Timeout(timeout, ProtocolError(f"it has not said who it is within {timeout:g} s")):
            hello = decode(next(messages))
        if not isinstance(hello, Handshake):
            raise ProtocolError(f"it began with {type(hello).__name__} instead of Handshake")
        resumable = RESUMABLE in hello.features
        leg = Leg(link, hello.name, resumable, hello.instance if resumable else b"", hello.epoch, address)
        refusal = self._refusal(leg, hello)
        if refusal is not None:
            log.warning("gateway %r from %s: refused: %s", hello.name, address, refusal.message)
            link.send(encode(refusal))
            link.close(1008, "refused")
            link.wait_closed(2.0)
            return None
        features = frozenset({RESUMABLE}) if resumable else frozenset()
        link.send(encode(Ack(b"", True, features=features)))
        log.info("gateway %s: registered from %s", leg.name, address, extra={"gateway": leg.name})
        return leg

    def _refusal(self, leg: Leg, hello: Handshake) -> Ack | None:
        """The Ack that refuses the registration, or None: then the leg has its name."""
        if hello.version != VERSION:
            return Ack(b"", False, "Invalid protocol version", Refusal.VERSION)
        if not hello.name or len(hello.name) > MAX_NAME or re.search(r"[\x00-\x1f\x7f]", hello.name):
            text = f"a name has 1 to {MAX_NAME} characters, and no control characters"
            return Ack(b"", False, text, Refusal.BAD_REQUEST)
        decision = self._authorizer.register(RegistrationRequest(name=hello.name, key=hello.key, address=leg.address))
        if not decision.allowed:
            if decision.error:
                return Ack(b"", False, decision.reason or AUTHORIZATION_ERROR, Refusal.POLICY_ERROR)
            return Ack(b"", False, decision.reason or UNAUTHORIZED, Refusal.UNAUTHORIZED)
        try:
            self.gateways.register(leg)
        except NameTaken as taken:
            return Ack(b"", False, str(taken), taken.code)
        return None

    def _serve(self, leg: Leg, messages: Iterator[bytes]) -> None:
        relay = Relay(leg, self.routes, self._opening)
        try:
            for data in messages:
                relay.serve(data)
        finally:
            if self.gateways.unregister(leg):
                why = leg.link.why or "the protocol was broken"
                log.info("gateway %s: gone: %s", leg.name, why, extra={"gateway": leg.name})
            relay.lost()


def parse_listen(text: str) -> tuple[str, int]:
    """The host ("" for every address) and the port of `[host]:port`. Raises UsageError."""
    match = re.fullmatch(r"(?P<host>\[[^]]*\]|[^:]*):(?P<port>\d{1,5})", text)
    if match is None or int(match["port"]) > 65535:
        raise UsageError(f"the address to listen on, {text!r}, should look like :8080, 127.0.0.1:8080 or [::1]:8080")
    return match["host"].strip("[]"), int(match["port"])
