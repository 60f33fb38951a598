"""The messages on a link (docs/protocol.md): protocol 0.1 and its extension.

A session id has 16 bytes. Protocol 0.1 writes it as the text of a UUID.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

VERSION = "0.1"
RESUMABLE = "resumable"
"""The feature in a Handshake and its Ack by which an end announces that it understands the whole extension."""


class Refusal(IntEnum):
    """The reason for a refusal, as `Code` in an Ack. Its text is for people. A 0.1 peer sends no code, which is 0."""

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
    """The reason for the abnormal end of a session (RESET, docs/protocol.md)."""

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
    """An agent's first message. `instance` (16 random bytes) proves that the same agent returns: it is a secret."""

    name: str
    key: str = field(default="", repr=False)
    version: str = VERSION
    features: frozenset[str] = frozenset()
    instance: bytes = field(default=b"", repr=False)
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class Terms:
    """The state of one end of a resumable session, sent to the other end when a path is set up.

    attempt: grows with each Initiator of a session; a lower one is stale. received: the offset that this end expects
    next. limit: the offset up to which the other end may send. secret (16 bytes, Initiator only): proves ownership of
    the session. resume (Initiator only): the session must exist already. round_trip: the best round-trip time of this
    end's link to the proxy, in microseconds, or 0 if unknown.
    """

    attempt: int
    received: int
    limit: int
    secret: bytes = field(default=b"", repr=False)
    resume: bool = False
    round_trip: int = 0


@dataclass(frozen=True, slots=True)
class Initiator:
    """Open a session to host:port through `gateway`, or resume one whose path was lost (`terms.resume`).

    The proxy adds `path` and `source`. The Ack returns `path`, which tells two attempts for one session apart.
    `source` is the entry's gateway name.
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
    """Protocol 0.1: bytes of one direction. Messages are numbered from 1; an empty one ends the stream."""

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
    """Bytes of one direction of a resumable session. `offset` is the offset of the first byte."""

    session: bytes
    from_exit: bool
    offset: int
    payload: bytes | bytearray | memoryview = field(repr=False)


@dataclass(frozen=True, slots=True)
class Credit:
    """Everything before `received` is consumed; bytes before `limit` may be sent. Both only grow."""

    session: bytes
    from_exit: bool
    received: int
    limit: int


@dataclass(frozen=True, slots=True)
class Eof:
    """The direction ends at `offset`. The end itself occupies this offset: its receipt is reported as offset + 1."""

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
    """Both streams are complete at the sender: it no longer needs the session."""

    session: bytes
    from_exit: bool


@dataclass(frozen=True, slots=True)
class Suspend:
    """The path behind the sender is lost or out of step: send no bytes until the session is resumed."""

    session: bytes
    from_exit: bool


@dataclass(frozen=True, slots=True)
class GoAway:
    """The proxy will close this link within `seconds`: dial another link first, then close this one."""

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
