"""The interface of a listener."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from hubble.agent.rules import Rule
from hubble.transport.addresses import Socket


@dataclass(frozen=True, slots=True)
class Accepted:
    """A connection that a listener accepted.

    client: the client's name in log lines. source: the key for sharing new sessions fairly, such as the client's
    address. rule: the rule with the destination. A listener whose clients name destinations replaces parts of it.
    """

    sock: Socket
    client: str
    source: str
    rule: Rule
    at: float = field(default_factory=time.monotonic)


class Listener(Protocol):
    """Accepts connections for one rule."""

    @property
    def rule(self) -> Rule:
        """The rule whose connections it accepts."""

    def open(self) -> tuple[str, int]:
        """Start listening. Return the address and the port. Raises ListenError."""

    def serve(self, hand_over: Callable[[Accepted], None]) -> None:
        """Accept connections until this greenlet is killed. `hand_over` never waits."""

    def close(self) -> None:
        """Stop listening. Repeated calls do nothing."""
