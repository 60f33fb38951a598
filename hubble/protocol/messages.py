"""What can be said on a link (docs/protocol.md): the messages of protocol 0.1, and those of its extension.

A session is named by 16 bytes; protocol 0.1 writes them as the text of a UUID.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

VERSION = "0.1"
RESUMABLE = "resumable"
"""The feature that a Handshake and its Ack announce: this end understands every message of the extension."""


class Refusal(IntEnum):
    """Why an Ack says no, for programs (`Code`); its text says the same to people. 0 is what a 0.1 peer says."""

    UNSPECIFIED = 0
    UNAUTHORIZED = 1
    NO_GATEWAY = 2
    UNKNOWN_SESSION = 3
    DIAL_FAILED = 4
    BUSY = 5
    NAME_TAKEN = 6
    VERSION = 7
    POLICY_ERROR = 8
    BAD_REQUEST = 9
    LIMIT = 10
    STALE = 11


class ResetReason(IntEnum):
    """Why a session ended abnormally (RESET, docs/protocol.md)."""

    UNSPECIFIED = 0
    LOCAL_RESET = 1
    PROTOCOL_ERROR = 2
    NOT_RESUMED = 3
    UNKNOWN_SESSION = 4
    REFUSED = 5
    REVOKED = 6
    AGENT_STOPPED = 7
    STALLED = 8
    LIMIT = 9


@dataclass(frozen=True, slots=True)
class Handshake:
    """The first message of an agent. `instance` (16 random bytes) proves an agent's return: treat it as a secret."""

    name: str
    key: str = field(default="", repr=False)
    version: str = VERSION
    features: frozenset[str] = frozenset()
    instance: bytes = field(default=b"", repr=False)
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class Terms:
    """What one end of a resumable session tells the other when a path is set up, for the first time or again.

    attempt: grows with each Initiator of a session; an older one is stale. received: the offset this end expects
    next. limit: the offset up to which it may be sent. secret (16 bytes, Initiator only) proves the session's
    owner. resume (Initiator only): the session must exist already. round_trip: microseconds that this end's link to the
    proxy takes for a ping and its pong at best; 0 if unknown.
    """

    attempt: int
    received: int
    limit: int
    secret: bytes = field(default=b"", repr=False)
    resume: bool = False
    round_trip: int = 0


@dataclass(frozen=True, slots=True)
class Initiator:
    """Open a session to host:port near `gateway`, or take up again one whose path was lost (`terms.resume`).

    `path` is the proxy's own mark, which the Ack carries back: it tells two attempts for one session apart.
    `source` is the entry's gateway name, added by the proxy.
    """

    session: bytes
    host: str
    port: int
    gateway: str
    key: str = field(default="", repr=False)
    terms: Terms | None = None
    path: int = 0
    source: str = ""


@dataclass(frozen=True, slots=True)
class Data:
    """Protocol 0.1: bytes of one direction, numbered from 1; empty at its end."""

    session: bytes
    order: int
    data: bytes | memoryview = field(repr=False)


@dataclass(frozen=True, slots=True)
class Terminator:
    """Protocol 0.1: the proxy tells an agent to drop the session."""

    session: bytes


@dataclass(frozen=True, slots=True)
class ConnectionClosed:
    """Protocol 0.1: an agent tells the proxy that its side of the session is closed."""

    session: bytes


@dataclass(frozen=True, slots=True)
class Ack:
    """The answer to a Handshake (`session` is b"") or to an Initiator."""

    session: bytes
    ok: bool
    message: str = ""
    code: Refusal = Refusal.UNSPECIFIED
    features: frozenset[str] = frozenset()
    terms: Terms | None = None
    path: int = 0


@dataclass(frozen=True, slots=True)
class Stream:
    """Bytes of one direction of a resumable session; `offset` is that of the first of them."""

    session: bytes
    from_exit: bool
    offset: int
    payload: bytes | bytearray | memoryview = field(repr=False)


@dataclass(frozen=True, slots=True)
class Credit:
    """Everything before `received` was consumed; bytes before `limit` may be sent. Both only ever grow."""

    session: bytes
    from_exit: bool
    received: int
    limit: int


@dataclass(frozen=True, slots=True)
class Eof:
    """The direction ends at `offset`, which the end of stream itself occupies: it is consumed as offset + 1."""

    session: bytes
    from_exit: bool
    offset: int


@dataclass(frozen=True, slots=True)
class Reset:
    """The session ended abnormally: the application on the other side must see a reset."""

    session: bytes
    from_exit: bool
    reason: ResetReason
    text: str = ""


@dataclass(frozen=True, slots=True)
class Done:
    """The sender has consumed all it was sent, and all it sent was consumed: it needs the session no more."""

    session: bytes
    from_exit: bool


@dataclass(frozen=True, slots=True)
class Suspend:
    """The path behind the sender is lost or out of step: send nothing more until the session is resumed."""

    session: bytes
    from_exit: bool


@dataclass(frozen=True, slots=True)
class GoAway:
    """The proxy will close this link within `seconds`: dial again now, and let go of this link then."""

    seconds: int


Message = (
    Handshake
    | Initiator
    | Data
    | Terminator
    | ConnectionClosed
    | Ack
    | Stream
    | Credit
    | Eof
    | Reset
    | Done
    | Suspend
    | GoAway
)
