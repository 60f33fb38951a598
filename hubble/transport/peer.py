"""The other end of a link."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from hubble.transport.link import Link


@dataclass(eq=False)
class Peer:
    """The other end of `link`: an agent, or another worker. `name` is for logs; peers are told apart by identity.

    `resumable`: the peer understands the extension, so its sessions survive the loss of the link.
    """

    link: Link
    name: str
    resumable: bool
    is_worker: ClassVar[bool] = False
