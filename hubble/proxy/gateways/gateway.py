"""A registered agent."""

from __future__ import annotations

from dataclasses import dataclass, field

from hubble.policy import RegistrationRequest
from hubble.transport.peer import Peer


@dataclass(eq=False)
class Gateway(Peer):
    """An agent that is registered as `name`, or is about to be.

    instance, epoch: distinguish a reconnecting agent from another agent with the same name (docs/protocol.md);
    instance is empty for protocol 0.1. address: as the proxy sees it. identity: the identity that the policy
    established. request: the question to the policy about this registration.
    """

    instance: bytes = field(default=b"", repr=False)
    epoch: int = 0
    address: str = ""
    identity: str = ""
    since: float = 0.0
    """The time of its registration, in seconds since 1970."""
    request: RegistrationRequest | None = field(default=None, repr=False)
