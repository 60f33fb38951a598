"""The messages between the supervisor and a worker. Each message is one packet (SOCK_SEQPACKET) of JSON.

The end of the channel means that the other process has ended.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

from hubble.base.errors import ProtocolError

LARGEST = 64 * 1024
"""The largest packet, in bytes."""
LONGEST = 5000
"""The longest text in a packet, in characters: it fits even if each is escaped twice. Longer texts are cut."""
BEAT_INTERVAL = 1.0
"""Seconds between two heartbeats of a worker."""


@dataclass(frozen=True)
class Start:
    """The first message to a worker. `listener`, `load` and `admin` (None: no admin listener) are descriptors.

    digests: the secret for the digests of keys, in hexadecimal; it is the same for all workers.
    """

    number: int
    workers: int
    listener: int
    load: int
    runtime_dir: str
    admin: int | None = None
    token: str = field(default="", repr=False)
    digests: str = field(default="", repr=False)


@dataclass(frozen=True)
class Reload:
    """To a worker: reload the files. The worker answers Reloaded."""


@dataclass(frozen=True)
class Drain:
    """To a worker: ask the agents to move elsewhere, then end. From a worker: an operator has requested a drain.

    seconds: the time limit. replaced: a successor has taken over, and serves the operators.
    """

    seconds: float
    replaced: bool = False


@dataclass(frozen=True)
class Stop:
    """To a worker: shut down cleanly."""


@dataclass(frozen=True)
class Ready:
    """From a worker: it is serving."""


@dataclass(frozen=True)
class Failed:
    """From a worker: it cannot start. `status` is the exit status for the user."""

    text: str
    status: int


@dataclass(frozen=True)
class Beat:
    """From a worker, every BEAT_INTERVAL: its event loop is running."""


@dataclass(frozen=True)
class Reloaded:
    """From a worker: it has reloaded. `problem` names the unusable files, which keep their old contents, or is ""."""

    problem: str = ""


Message = Start | Reload | Drain | Stop | Ready | Failed | Beat | Reloaded
_KINDS = {kind.__name__: kind for kind in (Start, Reload, Drain, Stop, Ready, Failed, Beat, Reloaded)}


def encode(message: Message) -> bytes:
    """Encode a message as one packet."""
    fields = {name: value[:LONGEST] if isinstance(value, str) else value for name, value in asdict(message).items()}
    return json.dumps({"kind": type(message).__name__, **fields}).encode()


def decode(packet: bytes) -> Message:
    """Decode a packet. Raises ProtocolError if it is invalid.

    The other end may be of another version, because its files may have been replaced since this process started.
    """
    try:
        fields = json.loads(packet)
        message: Message = _KINDS[fields.pop("kind")](**fields)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ProtocolError(f"unknown message, perhaps of another version: {packet[:80]!r}") from error
    return message
