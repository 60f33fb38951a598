"""The handshake of an agent's link: the agent identifies itself and gets its name or a refusal."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import gevent

from hubble.base.errors import ProtocolError
from hubble.base.floodlog import FloodLog
from hubble.base.names import key_problem, name_problem, scripts, shown
from hubble.policy import Authorizer, RegistrationRequest
from hubble.protocol.codec import HANDSHAKE, decode, encode
from hubble.protocol.legacy.words import AUTHORIZATION_ERROR, INVALID_VERSION, UNAUTHORIZED
from hubble.protocol.messages import RESUMABLE, VERSION, Ack, Handshake, Refusal
from hubble.proxy.gateways.blocks import Blocks
from hubble.proxy.gateways.gateway import Gateway
from hubble.proxy.gateways.limits import AbuseLimits, Meter
from hubble.proxy.gateways.registry import Gateways, NameTaken
from hubble.proxy.subscriber import Subscriber
from hubble.transport.link import Link
from hubble.transport.serve.server import SUBJECT

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Caller:
    """The client that opened a link, as RegistrationRequest describes it to the policy."""

    address: str = ""
    certificate_subject: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def from_environ(cls, environ: Mapping[str, Any]) -> Caller:
        """Return the caller that the WSGI environment of an upgrade request describes."""
        headers = {
            key.removeprefix("HTTP_").replace("_", "-").lower(): str(value)
            for key, value in environ.items()
            if key.startswith("HTTP_")
        }
        return cls(environ.get("REMOTE_ADDR", ""), environ.get(SUBJECT, ""), headers)


class Admission:
    """Admits agents if `authorizer` allows them and their names are available."""

    def __init__(
        self,
        gateways: Gateways,
        authorizer: Authorizer,
        hello_timeout: float,
        subscriber: Subscriber,
        blocks: Blocks,
        limits: AbuseLimits,
    ) -> None:
        per_minute = limits.registrations_per_minute
        self._rate = Meter(per_minute / 60, per_minute)
        self._gateways = gateways
        self._authorizer = authorizer
        self._flood_log = FloodLog(log)
        self._hello_timeout = hello_timeout
        self._subscriber = subscriber
        self._blocks = blocks

    def admit(self, link: Link, caller: Caller) -> Gateway | None:
        """Register the agent behind `link`; return its gateway, or None after a refusal was sent.

        Raises ProtocolError if the agent sends something else or nothing, LinkClosed if the link is lost.
        """
        late = ProtocolError(f"no Handshake within {self._hello_timeout:g} s")
        with gevent.Timeout(self._hello_timeout, late):
            data = link.receive()
        try:
            hello = decode(data)
        except ProtocolError as error:
            if data[:1] == bytes([HANDSHAKE]):  # the refusal keeps the agent from retrying
                _turn_away(link, Ack(b"", False, str(error), Refusal.BAD_REQUEST))
            raise
        if not isinstance(hello, Handshake):
            raise ProtocolError(f"the first message is {type(hello).__name__} instead of Handshake")
        resumable = RESUMABLE in hello.features
        gateway = Gateway(
            link, hello.name, resumable, hello.instance if resumable else b"", hello.epoch, caller.address
        )
        refusal = self._refusal(gateway, hello, caller)
        if refusal is not None:
            self._flood_log.log(
                logging.WARNING, f"registrations refused ({refusal.code.name.lower()})", gateway.address,
                "gateway %s from %s refused: %s", shown(hello.name), gateway.address, refusal.message,
            )  # fmt: skip
            self._subscriber.registration_refused(gateway, refusal)
            _turn_away(link, refusal)
            return None
        features = frozenset({RESUMABLE}) if resumable else frozenset()
        link.send(encode(Ack(b"", True, features=features)))
        log.info("gateway %s registered from %s", gateway.name, gateway.address, extra={"gateway": gateway.name})
        _warn_of_mixed_scripts(gateway.name)
        return gateway

    def _refusal(self, gateway: Gateway, hello: Handshake, caller: Caller) -> Ack | None:
        """Register the gateway; return None, or the Ack that refuses the registration."""
        if hello.version != VERSION:
            return Ack(b"", False, INVALID_VERSION, Refusal.VERSION)
        problem = name_problem(hello.name)
        if problem is not None:
            return Ack(b"", False, f"the gateway name {shown(hello.name)} {problem}", Refusal.BAD_REQUEST)
        problem = key_problem(hello.key)
        if problem is not None:
            return Ack(b"", False, f"the key {problem}", Refusal.BAD_REQUEST)
        if hello.name in self._blocks:
            return Ack(b"", False, "blocked by the operator", Refusal.UNAUTHORIZED)
        # When a proxy drains, all agents behind one address reconnect at once; the rate must not refuse them.
        if not self._rate.allows(caller.address) and not self._gateways.is_return(gateway):
            return Ack(b"", False, f"too many registrations from {caller.address}", Refusal.LIMIT)
        request = RegistrationRequest(hello.name, hello.key, caller.address, caller.certificate_subject, caller.headers)
        decision = self._authorizer.register(request)
        if not decision.allowed:
            if decision.busy:
                return Ack(b"", False, decision.reason, Refusal.BUSY)
            if decision.error:
                self._subscriber.policy_failed("", gateway.name, decision.detail)
                return Ack(b"", False, decision.reason or AUTHORIZATION_ERROR, Refusal.POLICY_ERROR)
            return Ack(b"", False, decision.reason or UNAUTHORIZED, Refusal.UNAUTHORIZED)
        gateway.request = request
        gateway.identity = decision.identity or caller.certificate_subject
        try:
            self._gateways.register(gateway)
        except NameTaken as taken:
            return Ack(b"", False, str(taken), taken.code)
        return None


def _turn_away(link: Link, refusal: Ack) -> None:
    link.send(encode(refusal))
    link.close(1008, "refused")
    link.wait_closed(2.0)


def _warn_of_mixed_scripts(name: str) -> None:
    found = sorted(script.capitalize() for script in scripts(name))
    if len(found) > 1:
        log.warning(
            "gateway %s: the name mixes letters of %s and may look like another name",
            name,
            " and ".join(found),
            extra={"gateway": name},
        )
