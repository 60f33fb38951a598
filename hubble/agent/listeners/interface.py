"""What a listener is to the entry."""

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

    client: names the client in the log. source: the key by which new sessions are shared out fairly, such as the
    client's address. rule: its destination; a listener whose clients name destinations replaces parts of it.
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
        """The rule that it listens for."""

    def open(self) -> tuple[str, int]:
        """Listen; return the address and the port. Raises ListenError."""

    def serve(self, hand_over: Callable[[Accepted], None]) -> None:
        """Accept connections, in a greenlet of its own, until that is killed. `hand_over` never waits."""

    def close(self) -> None:
        """Stop listening. More than once does no harm."""
