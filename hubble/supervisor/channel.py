"""What the supervisor and one of its workers say to each other, a message a packet (SOCK_SEQPACKET) of JSON.

That the channel ends is a message too: the other process is gone.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

from hubble.base.errors import ProtocolError

LARGEST = 64 * 1024
"""Bytes of a packet."""
LONGEST = 5000
"""Characters of a text in it: more are cut off. Even if each has to be escaped twice over, they fit."""
BEAT_INTERVAL = 1.0
"""Seconds between a worker's signs of life."""


@dataclass(frozen=True)
class Start:
    """To a worker, first: what it works with. `listener`, `load` and `admin` (None: there is none) are descriptors.

    `digests`: the secret, in hexadecimal digits, by which all workers have the same digests of keys.
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
    """To a worker: read again what can be read again; it answers Reloaded."""


@dataclass(frozen=True)
class Drain:
    """To a worker: have the agents move elsewhere, then end. From a worker: an operator has asked for it, for all.

    `replaced`: a successor has taken over, and is the one to answer operators.
    """

    seconds: float
    replaced: bool = False


@dataclass(frozen=True)
class Stop:
    """To a worker: end in order."""


@dataclass(frozen=True)
class Ready:
    """From a worker: it serves."""


@dataclass(frozen=True)
class Failed:
    """From a worker: it cannot start. `status` is the exit status that the user should see."""

    text: str
    status: int


@dataclass(frozen=True)
class Beat:
    """From a worker, every BEAT_INTERVAL: its hub turns."""


@dataclass(frozen=True)
class Reloaded:
    """From a worker: it has read everything again. `problem` says what could not be used, and stays as it was."""

    problem: str = ""


Message = Start | Reload | Drain | Stop | Ready | Failed | Beat | Reloaded
_KINDS = {kind.__name__: kind for kind in (Start, Reload, Drain, Stop, Ready, Failed, Beat, Reloaded)}


def encode(message: Message) -> bytes:
    """One packet."""
    fields = {name: value[:LONGEST] if isinstance(value, str) else value for name, value in asdict(message).items()}
    return json.dumps({"kind": type(message).__name__, **fields}).encode()


def decode(packet: bytes) -> Message:
    """What `encode` made. Raises ProtocolError for anything else, which the other end of another version may send:
    the files of this one may have been replaced since it started.
    """
    try:
        fields = json.loads(packet)
        message: Message = _KINDS[fields.pop("kind")](**fields)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ProtocolError(f"no message of this version: {packet[:80]!r}") from error
    return message
