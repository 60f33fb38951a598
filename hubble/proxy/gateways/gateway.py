"""A registered agent."""

from __future__ import annotations

from dataclasses import dataclass, field

from hubble.policy import RegistrationRequest
from hubble.transport.peer import Peer


@dataclass(eq=False)
class Gateway(Peer):
    """An agent that has registered as `name`, or is about to.

    instance, epoch: tell its own return from another agent (docs/protocol.md); no instance for protocol 0.1.
    address: as the proxy sees it. identity: what the policy has proved. request: what the policy was asked about it.
    """

    instance: bytes = field(default=b"", repr=False)
    epoch: int = 0
    address: str = ""
    identity: str = ""
    since: float = 0.0
    """When it registered, in seconds since 1970."""
    request: RegistrationRequest | None = field(default=None, repr=False)
