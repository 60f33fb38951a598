"""What the workers of a proxy say to each other besides the messages of sessions (docs/protocol.md).

A link between workers begins with a Hello from each side, in which both prove that they know the cluster's secret
without showing it. From then on either side may Call the other, and gets a Reply.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import dataclass, field
from typing import Any

from hubble.errors import ProtocolError

HELLO, CALL, REPLY = 0x30, 0x31, 0x32
TYPES = range(HELLO, REPLY + 1)


@dataclass(frozen=True, slots=True)
class Hello:
    """Who speaks, a challenge (32 random bytes, hexadecimal), and the proof that answers the other side's."""

    worker: str
    challenge: str
    proof: str = ""


@dataclass(frozen=True, slots=True)
class Call:
    """Do `method` with `arguments`; the Reply carries the same number."""

    number: int
    method: str
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reply:
    """What a Call came to: its result, or in `error` why there is none."""

    number: int
    result: Any = None
    error: str = ""


PeerMessage = Hello | Call | Reply
_KINDS: dict[int, type[Hello] | type[Call] | type[Reply]] = {HELLO: Hello, CALL: Call, REPLY: Reply}


def encode(message: PeerMessage) -> bytes:
    """A type byte and a JSON object."""
    kind = next(number for number, type_ in _KINDS.items() if type(message) is type_)
    fields = {name: getattr(message, name) for name in message.__slots__}
    return bytes([kind]) + json.dumps(fields).encode()


def decode(data: bytes) -> PeerMessage:
    """The message in `data`, whose type is one of TYPES. Raises ProtocolError."""
    try:
        return _KINDS[data[0]](**json.loads(data[1:]))
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise ProtocolError(f"a malformed message between workers: {error}") from error


def proof(secret: bytes, prover: Hello, challenge: str) -> str:
    """What `prover` must answer to `challenge`: bound to both challenges, and to who proves."""
    text = "\n".join(("hubble mesh", prover.worker, prover.challenge, challenge))
    return hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()


def is_proved(secret: bytes, prover: Hello, challenge: str) -> bool:
    """Whether `prover` has answered `challenge`; compared in constant time."""
    return hmac.compare_digest(prover.proof.encode(), proof(secret, prover, challenge).encode())
