"""Another worker at the other end of a link."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from hubble.transport.link import Link
from hubble.transport.peer import Peer


@dataclass(eq=False)
class WorkerPeer(Peer):
    """A worker that has completed the handshake; `worker` is its id."""

    worker: str
    is_worker: ClassVar[bool] = True

    @classmethod
    def at(cls, link: Link, worker: str) -> WorkerPeer:
        """Return the peer that `link` leads to."""
        return cls(link, f"worker {worker}", True, worker)
