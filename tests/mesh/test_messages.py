"""What workers say to each other: the codec, and what a proof is bound to."""

from __future__ import annotations

import dataclasses
import json

import pytest

from hubble.base.errors import ProtocolError
from hubble.mesh import messages as peering
from hubble.mesh.messages import Call, Hello, Reply, decode, decode_hello, encode, is_proved, proof

SECRET = b"a secret of sixteen bytes or more"
DIALLER, LISTENER = Hello("one", "1" * 64), Hello("two", "2" * 64)


@pytest.mark.parametrize(
    "message",
    [
        DIALLER,
        dataclasses.replace(DIALLER, proof="a" * 64),
        Call(1, "method"),
        Call(2, "method", {"name": "שער", "epoch": 2**60}),
        Reply(1, {"any": ["thing"]}),
        Reply(1, error="it failed"),
    ],
)
def test_a_message_comes_out_as_it_went_in(message: peering.PeerMessage) -> None:
    assert decode(encode(message)) == message


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        (peering.HELLO, {"worker": 1, "challenge": "1" * 64}),
        (peering.HELLO, {"worker": ["one"], "challenge": "1" * 64}),
        (peering.HELLO, {"worker": "one\ntwo", "challenge": "1" * 64}),
        (peering.HELLO, {"worker": "", "challenge": "1" * 64}),
        (peering.HELLO, {"worker": "one", "challenge": ""}),
        (peering.HELLO, {"worker": "one", "challenge": "1" * 63 + "\n"}),
        (peering.HELLO, {"worker": "one", "challenge": "1" * 64, "proof": None}),
        (peering.HELLO, {"worker": "one", "challenge": "1" * 64, "proof": "é" * 64}),
        (peering.HELLO, {"worker": "one", "challenge": "1" * 64, "more": 1}),
        (peering.HELLO, {}),
        (peering.HELLO, []),
        (peering.CALL, {"number": "1", "method": "m"}),
        (peering.CALL, {"number": 1, "method": "m", "arguments": [1]}),
        (peering.CALL, {"number": 1, "method": None}),
        (peering.REPLY, {"number": {}, "result": 1}),
        (peering.REPLY, {"number": 1, "error": 7}),
        (0x7F, {"number": 1}),
    ],
)
def test_what_is_malformed_is_a_protocol_error(kind: int, content: object) -> None:
    with pytest.raises(ProtocolError):
        decode(bytes([kind]) + json.dumps(content).encode())


@pytest.mark.parametrize("data", [b"", b"\x30", b"\x30{", b"\x30\xff\xfe", b"\x30" + b"[" * 100_000])
def test_invalid_json_is_a_protocol_error(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode(data)


def test_what_a_stranger_may_send_is_short_and_a_hello() -> None:
    assert decode_hello(encode(DIALLER)) == DIALLER
    for data in (b"", encode(Call(1, "method")), encode(Reply(1)), b"\x30" + b" " * 2000 + encode(DIALLER)[1:]):
        with pytest.raises(ProtocolError):
            decode_hello(data)


def test_a_call_is_bounded_in_size_and_a_reply_as_any_message() -> None:
    with pytest.raises(ProtocolError, match="at most 65536"):
        decode(encode(Call(1, "method", {"x": "y" * 70_000})))
    assert decode(encode(Reply(1, "y" * 70_000))) == Reply(1, "y" * 70_000)


def test_a_proof_counts_for_exactly_one_link_and_side() -> None:
    proved = dataclasses.replace(DIALLER, proof=proof(SECRET, DIALLER, LISTENER, dialled=True))
    assert is_proved(SECRET, proved, LISTENER, dialled=True)
    assert not is_proved(b"another secret of the kind", proved, LISTENER, dialled=True)
    assert not is_proved(SECRET, proved, LISTENER, dialled=False)
    assert not is_proved(SECRET, dataclasses.replace(proved, worker="three"), LISTENER, dialled=True)
    assert not is_proved(SECRET, dataclasses.replace(proved, challenge="3" * 64), LISTENER, dialled=True)
    for other in (dataclasses.replace(LISTENER, worker="three"), dataclasses.replace(LISTENER, challenge="3" * 64)):
        assert not is_proved(SECRET, proved, other, dialled=True)
    reflected = dataclasses.replace(LISTENER, proof=proved.proof)
    assert not is_proved(SECRET, reflected, DIALLER, dialled=False)
    assert not is_proved(SECRET, DIALLER, LISTENER, dialled=True)
