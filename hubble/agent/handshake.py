"""The start of an agent's link: the agent registers, and the proxy accepts or refuses."""

from __future__ import annotations

from typing import NamedTuple

import gevent
from websockets.protocol import Side

from hubble.agent.identity import Identity
from hubble.agent.options import AgentOptions
from hubble.base.errors import DialError, LinkClosed, ProtocolError, ProxyBusy, RegistrationInvalid, RegistrationRefused
from hubble.protocol.codec import decode, encode
from hubble.protocol.messages import RESUMABLE, Ack, Refusal
from hubble.transport.dial.answer import printable
from hubble.transport.dial.dial import Target, open_websocket
from hubble.transport.link import Link

REFUSALS = {Refusal.BAD_REQUEST: RegistrationInvalid, Refusal.BUSY: ProxyBusy}
"""Refusals with an error class of their own."""


class Registered(NamedTuple):
    """A link on which the proxy at `target` has accepted the agent."""

    target: Target
    link: Link
    resumable: bool
    """Whether the proxy understands the extension of protocol 0.1."""


def register(target: Target, identity: Identity, options: AgentOptions) -> Registered:
    """Dial the proxy and register. Raises DialError, ProtocolError or RegistrationRefused."""
    upgraded = open_websocket(target, options.dial)
    link = Link(upgraded.socket, Side.CLIENT, leftover=upgraded.leftover, keepalive=options.keepalive)
    try:
        return say_hello(link, target, identity, options.hello_timeout)
    except LinkClosed as error:
        raise DialError(f"{target} closed the link before it answered the registration: {error}") from error


def say_hello(link: Link, target: Target, identity: Identity, timeout: float) -> Registered:
    """Send the Handshake on a new link, and return once the proxy at `target` has accepted it.

    The answer must be complete within `timeout` seconds. Raises DialError if it is not, LinkClosed, ProtocolError or
    RegistrationRefused; the link is closed then.
    """
    link.send(encode(identity.handshake()))
    late = DialError(f"{target} did not answer the registration within {timeout:g} s; is it a Hubble proxy?")
    try:
        with gevent.Timeout(timeout, late):
            answer = decode(link.receive())
        if not isinstance(answer, Ack):
            raise ProtocolError(f"{target} answered the registration with {type(answer).__name__}")
        if not answer.ok:
            raise REFUSALS.get(answer.code, RegistrationRefused)(
                printable(answer.message) or "no reason was given", answer.code
            )
    except BaseException:
        link.abort("the registration failed")
        raise
    return Registered(target, link, RESUMABLE in answer.features)
