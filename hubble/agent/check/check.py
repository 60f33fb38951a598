"""Test the path to the proxy phase by phase: the time that each phase takes, and advice where one fails."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import gevent
from websockets.protocol import Side

from hubble.agent.agent import Agent
from hubble.agent.check.throughput import PATIENCE, Sink
from hubble.agent.handshake import say_hello
from hubble.agent.identity import Identity, check_identity
from hubble.agent.options import AgentOptions
from hubble.agent.rules import LOOPBACK, Rule
from hubble.base.errors import HubbleError, LinkClosed, RegistrationRefused
from hubble.protocol.messages import Refusal
from hubble.transport.addresses import Socket, connect, resolve
from hubble.transport.dial.dial import parse_url, reach, secure, upgrade
from hubble.transport.dial.outproxy import choose
from hubble.transport.endpoint import endpoint
from hubble.transport.link import Link

log = logging.getLogger(__name__)

PINGS = 5

ADVICE: dict[int, str] = {
    Refusal.UNSPECIFIED: "ask the operator of the proxy",
    Refusal.UNAUTHORIZED: "check -name and -key, or the certificate; the proxy's log has the reason",
    Refusal.NAME_TAKEN: "an agent with this name is running: choose another -name for the check, or stop that agent",
    Refusal.VERSION: "agent and proxy have incompatible versions: upgrade the older one",
    Refusal.POLICY_ERROR: "the proxy's policy failed; the proxy's log has the reason",
    Refusal.BAD_REQUEST: "choose another -name",
}


@dataclass(frozen=True)
class Step:
    """The result of one phase: its name, whether it succeeded (None: skipped), its duration in seconds, and a text."""

    name: str
    ok: bool | None
    seconds: float
    text: str


class _Skipped(Exception):
    """A phase is skipped; the text is the reason."""


class Check:
    """Test the path to the proxy at `url`. With a `name`, register there and send bytes to itself.

    Raises UsageError if the URL, or the URL of an HTTP or SOCKS proxy, is invalid.
    """

    def __init__(self, url: str, name: str = "", key: str = "", options: AgentOptions | None = None) -> None:
        if name:
            check_identity(name, key)
        self._url, self._name, self._key = url, name, key
        self._options = options or AgentOptions()
        self._target = target = parse_url(url)
        self._outproxy = choose(self._options.dial.proxy, target.secure, target.host, target.port)
        self._sock: Socket | None = None
        self._leftover = b""
        self._link: Link | None = None
        self._resumable = False

    def run(self) -> Iterator[Step]:
        """Yield the result of each phase in order. A failed phase is the last."""
        phases: list[tuple[str, Callable[[], str]]] = [
            ("resolve", self._resolve),
            ("connect", self._connect),
            ("proxy", self._go_through_proxy),
            ("TLS", self._secure),
            ("upgrade", self._upgrade),
            ("registration", self._register),
            ("round trip", self._measure_round_trip),
            ("throughput", self._measure_throughput),
        ]
        try:
            for name, phase in phases:
                step = _timed(name, phase)
                yield step
                if step.ok is False:
                    return
        finally:
            self._hang_up()

    # The phases. Each returns a text, and raises HubbleError or _Skipped.

    def _resolve(self) -> str:
        host, port = self._first_hop()
        addresses = [str(address.ip) for address in resolve(host, port)]
        return f"{host} is {', '.join(addresses)}" if addresses != [host] else f"{host} is an address"

    def _connect(self) -> str:
        host, port = self._first_hop()
        sock = connect(host, port, self._options.dial.connect_timeout)
        where = endpoint(*sock.getpeername()[:2])
        if self._outproxy is None:
            self._sock = sock
        else:
            sock.close()  # the next phase connects itself
        return f"to {where}"

    def _go_through_proxy(self) -> str:
        if self._outproxy is None:
            raise _Skipped("no HTTP or SOCKS proxy is set for this URL")
        self._sock = reach(self._target, self._options.dial)
        return f"through {self._outproxy} to {endpoint(self._target.host, self._target.port)}"

    def _secure(self) -> str:
        if not self._target.secure:
            raise _Skipped("none, because the URL is ws://: anyone on the path can read the traffic")
        assert self._sock is not None
        self._sock = secure(self._sock, self._target, self._options.dial)
        return _describe_tls(self._sock)

    def _upgrade(self) -> str:
        assert self._sock is not None
        self._leftover = upgrade(self._sock, self._target, self._options.dial)
        return "the connection is a WebSocket"

    def _register(self) -> str:
        assert self._sock is not None
        keepalive = self._options.keepalive
        self._link = link = Link(self._sock, Side.CLIENT, leftover=self._leftover, keepalive=keepalive)
        if not self._name:
            gevent.spawn(_drain, link)
            raise _Skipped("not tried without -name (and -key)")
        try:
            registered = say_hello(link, self._target, Identity(self._name, self._key), self._options.hello_timeout)
        except RegistrationRefused as error:
            raise RegistrationRefused(f"{error}: {ADVICE.get(error.code, ADVICE[Refusal.UNSPECIFIED])}") from error
        gevent.spawn(_drain, registered.link)
        self._resumable = registered.resumable
        generation = (
            "sessions survive the loss of a link"
            if self._resumable
            else "protocol 0.1: no session survives a lost link"
        )
        return f"as {self._name}; {generation}"

    def _measure_round_trip(self) -> str:
        assert self._link is not None
        for _ in range(PINGS):
            if not self._link.probe(PATIENCE):
                raise LinkClosed(self._link.why or f"no answer to a ping within {PATIENCE:g} s")
        trip = self._link.round_trip
        return "" if trip is None else f"{trip * 1000:.1f} ms at best"

    def _measure_throughput(self) -> str:
        if not self._name:
            raise _Skipped("not measured without -name (and -key)")
        if not self._resumable:
            raise _Skipped("not measured: with a proxy of protocol 0.1, an agent cannot reach itself")
        self._hang_up()
        with Sink() as sink:
            rule = Rule(0, self._name, LOOPBACK, sink.port)
            options = replace(self._options, link_wait=PATIENCE)
            agent = Agent(self._url, self._name, [rule], key=self._key, options=options)
            ((_, host, port),) = agent.start()
            try:
                rate = sink.measure(connect(host, port, PATIENCE))
            except OSError:
                raise _Skipped(
                    f"not measured: {self._name} could not open a session to itself; the proxy's policy may forbid it "
                    "(--log-level warning shows the reason)"
                ) from None
            finally:
                agent.stop()
        return f"{rate / 1e6:.3g} MB/s to the proxy and back at the same time"

    def _first_hop(self) -> tuple[str, int]:
        hop = self._outproxy or self._target
        return hop.host, hop.port

    def _hang_up(self) -> None:
        if self._link is not None:
            self._link.close(1000, "the check is over")
            self._link.wait_closed(2.0)
        elif self._sock is not None:
            self._sock.close()
        self._link = self._sock = None


def _timed(name: str, phase: Callable[[], str]) -> Step:
    started = time.monotonic()
    try:
        ok, text = True, phase()
    except _Skipped as reason:
        return Step(name, None, 0.0, str(reason))
    except (HubbleError, OSError) as error:
        ok, text = False, str(error)
    return Step(name, ok, time.monotonic() - started, text)


def _drain(link: Link) -> None:
    """Read and drop messages, so that answers to pings are processed."""
    try:
        link.serve(lambda message: None)
    except LinkClosed as error:
        log.debug("the link ended: %s", error)


def _describe_tls(sock: Any) -> str:
    """Describe the TLS version, cipher and certificate. `sock` has the methods of an SSLSocket."""
    version, cipher = sock.version(), sock.cipher()
    certificate = sock.getpeercert() or {}
    names = [value for kind, value in certificate.get("subjectAltName", ()) if kind in ("DNS", "IP Address")]
    session = f"{version}, {cipher[0] if cipher else 'no cipher'}"
    if not certificate:
        return f"{session}; the server's certificate is not checked"
    return f"{session}; its certificate is for {', '.join(names[:3]) or 'no name'}, until {certificate['notAfter']}"
