"""What is known of one session for those who look on."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any

import gevent

from hubble.policy.request import printable
from hubble.protocol.codec import session_text
from hubble.proxy.sessions.routes import Route
from hubble.transport.endpoint import endpoint

log = logging.getLogger(__name__)

TO_EXIT, TO_ENTRY = False, True
"""The directions, as `from_exit` names them."""


@dataclass(eq=False, slots=True)
class Record:
    """One session: who, where to, since when (seconds since 1970), and how much has passed."""

    session: bytes
    source: str
    source_ip: str
    identity: str
    gateway: str
    host: str
    port: int
    key: str
    resumes: bool
    received: int
    """Of the exit's stream, what the entry has already."""
    asked: float
    """When it was asked for, by the monotonic clock."""
    attempt: int = 1
    """Which request of its entry this is, the first included."""
    opened: float = 0.0
    suspended: float | None = None
    """Since when it has no path."""
    resumptions: int = 0
    route: Route | None = None
    rate: tuple[float, float] = (0.0, 0.0)
    """Bytes a second to the exit and to the entry, of late."""
    seen: tuple[int, int] = (0, 0)
    base: list[int] = field(default_factory=lambda: [0, 0])
    """What the receivers had when the path was set up; by direction."""
    ends: list[int | None] = field(default_factory=lambda: [None, None])
    """Where the streams end, if that is known."""
    moving: gevent.Greenlet | None = None

    @property
    def id(self) -> str:
        """As people write it."""
        return session_text(self.session)

    def passed(self, from_exit: bool) -> int:
        """Bytes of one stream that have passed, each counted once."""
        total = self.base[from_exit] + (self.route.passed[from_exit] if self.route is not None else 0)
        end = self.ends[from_exit]
        return total if end is None else min(total, end)

    def facts(self) -> dict[str, Any]:
        """The fields that every event of a session has."""
        return {
            "session": self.id,
            "source": self.source,
            "source_ip": self.source_ip,
            "identity": self.identity,
            "gateway": self.gateway,
            "host": self.host,
            "port": self.port,
            "key": self.key,
        }


def route_of(record: Record) -> str:
    """From where to where it goes, for people."""
    return printable(f"{record.source} to {record.gateway}, {endpoint(record.host, record.port)}")


def say(record: Record, text: str, *values: object) -> None:
    """A line in the log about a session."""
    fields = {"session": record.id, "gateway": record.gateway}
    log.info(f"session %s: {text}", record.id, *values, extra=fields)
