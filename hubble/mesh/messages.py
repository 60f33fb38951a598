"""What the workers of a proxy say to each other besides the messages of sessions (docs/protocol.md).

A link between workers begins with Hellos, in which both sides prove that they know the cluster's secret without
showing it: the dialler says who it is and gives a challenge; the listener answers with its own, and its proof; the
dialler with its proof. From then on either side may Call the other, and gets a Reply.

The proofs keep out who does not know the secret. Whoever can change what travels between two workers can still put
himself between them once they have proved themselves: only TLS, or a private network, keeps him out.
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
"""The longest Hello, in bytes: anybody who reaches the port may send one."""
MAX_CALL = 64 * 1024
"""The longest Call, in bytes. A Reply, which carries the lists of a worker, may be as long as any message."""
TYPES = range(HELLO, REPLY + 1)
_WORKER = re.compile(r"[\w.-]{1,64}", re.ASCII)
_CHALLENGE = re.compile(r"[0-9a-f]{64}")
_PROOF = re.compile(r"([0-9a-f]{64})?")


@dataclass(frozen=True, slots=True)
class Hello:
    """Who speaks, a challenge (32 random bytes), and the proof that answers the other side's; both hexadecimal."""

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
_LONGEST = {HELLO: MAX_HELLO, CALL: MAX_CALL}
_KINDS: dict[int, type[Hello] | type[Call] | type[Reply]] = {HELLO: Hello, CALL: Call, REPLY: Reply}


def encode(message: PeerMessage) -> bytes:
    """A type byte and a JSON object."""
    kind = next(number for number, type_ in _KINDS.items() if type(message) is type_)
    fields = {name: getattr(message, name) for name in message.__slots__}
    return bytes([kind]) + json.dumps(fields).encode()


def decode(data: bytes) -> PeerMessage:
    """The message in `data`, whose type is one of TYPES. Raises ProtocolError.

    Before a side has proved itself, use `decode_hello`: parsing whatever a stranger sends would be expensive.
    """
    longest = _LONGEST.get(data[0]) if data else None
    if longest is not None and len(data) > longest:
        raise ProtocolError(f"a message between workers of {len(data)} bytes; at most {longest} are allowed")
    try:
        message = _KINDS[data[0]](**json.loads(data[1:]))
        _check(message)
    except (KeyError, IndexError, ValueError, TypeError, RecursionError) as error:
        raise ProtocolError(f"a malformed message between workers: {error}") from error
    return message


def decode_hello(data: bytes) -> Hello:
    """The Hello in `data`, which may come from anybody. Raises ProtocolError, also for another message."""
    if data[:1] != bytes([HELLO]):
        raise ProtocolError("no Hello")
    message = decode(data)
    assert isinstance(message, Hello)
    return message


def _check(message: PeerMessage) -> None:
    """Raises ValueError or TypeError for what is not of the kind that the classes above say."""
    match message:
        case Hello(worker, challenge, proved):
            if not (_WORKER.fullmatch(worker) and _CHALLENGE.fullmatch(challenge) and _PROOF.fullmatch(proved)):
                raise ValueError("a Hello with a field that is none")
        case Call(int(), str(), dict()) | Reply(int(), _, str()):
            pass
        case _:
            raise ValueError(f"a {type(message).__name__} with a field of the wrong kind")


def proof(secret: bytes, prover: Hello, verifier: Hello, *, dialled: bool) -> str:
    """What `prover` must show to `verifier`: bound to both, to their challenges, and to which of them has dialled."""
    facts = ["hubble mesh", dialled, prover.worker, prover.challenge, verifier.worker, verifier.challenge]
    return hmac.new(secret, json.dumps(facts).encode(), hashlib.sha256).hexdigest()


def is_proved(secret: bytes, prover: Hello, verifier: Hello, *, dialled: bool) -> bool:
    """Whether `prover`, who has `dialled` or not, has shown what it must; compared in constant time."""
    return hmac.compare_digest(prover.proof, proof(secret, prover, verifier, dialled=dialled))
