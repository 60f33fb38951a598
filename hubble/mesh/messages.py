"""The messages between the workers of a proxy, besides those of sessions (docs/protocol.md).

A link between workers begins with three Hellos, in which both sides prove that they know the cluster's secret without
revealing it. The dialler sends its id and a challenge. The listener answers with its id, a challenge and its proof. The
dialler answers with its proof. From then on either side may send a Call, and gets a Reply.

The proofs keep out a process that does not know the secret. An attacker who can modify the traffic between two workers
can still take over the link after the handshake; only TLS or a private network prevents that.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from dataclasses import dataclass, field
from typing import Any

from hubble.base.errors import ProtocolError

HELLO, CALL, REPLY = 0x30, 0x31, 0x32
MAX_HELLO = 1024
"""The longest Hello, in bytes: any client that reaches the port may send one."""
MAX_CALL = 64 * 1024
"""The longest Call, in bytes. A Reply carries the lists of a worker and may be as long as any message."""
TYPES = range(HELLO, REPLY + 1)
_WORKER = re.compile(r"[\w.-]{1,64}", re.ASCII)
_CHALLENGE = re.compile(r"[0-9a-f]{64}")
_PROOF = re.compile(r"([0-9a-f]{64})?")


@dataclass(frozen=True, slots=True)
class Hello:
    """The sender's id, a challenge (32 random bytes), and a proof for the other side's challenge; both hexadecimal."""

    worker: str
    challenge: str
    proof: str = ""


@dataclass(frozen=True, slots=True)
class Call:
    """A request to call `method` with `arguments`; the Reply carries the same number."""

    number: int
    method: str
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reply:
    """The result of a Call, or the reason for its failure in `error`."""

    number: int
    result: Any = None
    error: str = ""


PeerMessage = Hello | Call | Reply
_LONGEST = {HELLO: MAX_HELLO, CALL: MAX_CALL}
_KINDS: dict[int, type[Hello] | type[Call] | type[Reply]] = {HELLO: Hello, CALL: Call, REPLY: Reply}


def encode(message: PeerMessage) -> bytes:
    """Encode a message as a type byte and a JSON object."""
    kind = next(number for number, type_ in _KINDS.items() if type(message) is type_)
    fields = {name: getattr(message, name) for name in message.__slots__}
    return bytes([kind]) + json.dumps(fields).encode()


def decode(data: bytes) -> PeerMessage:
    """Decode a message whose type is one of TYPES. Raises ProtocolError.

    Use `decode_hello` until a peer has proved that it knows the secret: parsing a stranger's input is expensive.
    """
    longest = _LONGEST.get(data[0]) if data else None
    if longest is not None and len(data) > longest:
        raise ProtocolError(f"a message between workers has {len(data)} bytes; at most {longest} are allowed")
    try:
        message = _KINDS[data[0]](**json.loads(data[1:]))
        _check(message)
    except (KeyError, IndexError, ValueError, TypeError, RecursionError) as error:
        raise ProtocolError(f"malformed message between workers: {error}") from error
    return message


def decode_hello(data: bytes) -> Hello:
    """Decode a Hello from an untrusted peer. Raises ProtocolError, also for another message."""
    if data[:1] != bytes([HELLO]):
        raise ProtocolError("the message is not a Hello")
    message = decode(data)
    assert isinstance(message, Hello)
    return message


def _check(message: PeerMessage) -> None:
    """Check the types and forms of a message's fields. Raises ValueError or TypeError."""
    match message:
        case Hello(worker, challenge, proved):
            if not (_WORKER.fullmatch(worker) and _CHALLENGE.fullmatch(challenge) and _PROOF.fullmatch(proved)):
                raise ValueError("invalid field in a Hello")
        case Call(int(), str(), dict()) | Reply(int(), _, str()):
            pass
        case _:
            raise ValueError(f"field of the wrong type in a {type(message).__name__}")


def proof(secret: bytes, prover: Hello, verifier: Hello, *, dialled: bool) -> str:
    """Return `prover`'s proof for `verifier`, bound to both ids and challenges, and to the side that `dialled`."""
    facts = ["hubble mesh", dialled, prover.worker, prover.challenge, verifier.worker, verifier.challenge]
    return hmac.new(secret, json.dumps(facts).encode(), hashlib.sha256).hexdigest()


def is_proved(secret: bytes, prover: Hello, verifier: Hello, *, dialled: bool) -> bool:
    """Return whether `prover`'s proof is right, in constant time; `dialled`: the prover dialled the link."""
    return hmac.compare_digest(prover.proof, proof(secret, prover, verifier, dialled=dialled))
