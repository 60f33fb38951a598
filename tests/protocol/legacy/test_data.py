"""Data read without msgpack is what the codec reads."""

from __future__ import annotations

import uuid

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubble.base.errors import ProtocolError
from hubble.protocol import codec
from hubble.protocol.legacy.data import read_data
from hubble.protocol.messages import Data

SESSION = uuid.UUID("f32c8d4d-4ed3-4bd6-9e7b-0123456789ab")
USUAL = {"Data": b"x" * 1024, "GUID": str(SESSION), "Order": 7}


def packed(fields: dict[str, object], **options: bool) -> bytes:
    return b"\x03" + msgpack.packb(fields, **{"use_bin_type": False, **options})


@given(st.integers(0, (1 << 63) - 1), st.binary(min_size=32, max_size=3000), st.uuids())
def test_the_usual_form_is_read(order: int, payload: bytes, session: uuid.UUID) -> None:
    data = packed({"Data": payload, "GUID": str(session), "Order": order})
    assert read_data(data) == Data(session.bytes, order, payload)


@pytest.mark.parametrize(
    "data",
    [
        packed({"GUID": str(SESSION), "Data": b"x" * 1024, "Order": 7}),
        packed({**USUAL, "Data": b"short"}),
        packed({**USUAL, "Data": b"x" * 70_000}),
        packed({**USUAL, "More": 1}),
        packed(USUAL, use_bin_type=True),
    ],
)
def test_any_other_form_is_left_to_the_codec(data: bytes) -> None:
    assert read_data(data) is None
    message = codec.decode(data)
    assert isinstance(message, Data) and (message.session, message.order) == (SESSION.bytes, 7)


@pytest.mark.parametrize(
    "data",
    [
        packed({**USUAL, "GUID": str(SESSION).upper()}),
        packed({**USUAL, "GUID": "z" * 36}),
        packed({**USUAL, "GUID": "\xe4" * 18}),
        packed({**USUAL, "Order": 1 << 63}),
        packed({**USUAL, "Order": -1}),
        packed(USUAL) + b"\0",
    ],
)
def test_what_is_invalid_is_refused(data: bytes) -> None:
    assert read_data(data) is None
    with pytest.raises(ProtocolError):
        codec.decode(data)


@given(st.integers(0, 1100), st.integers(0, 1100), st.integers(0, 255))
def test_whatever_is_read_the_codec_reads_too(end: int, position: int, byte: int) -> None:
    data = bytearray(packed(USUAL)[: end or None])
    if position < len(data):
        data[position] = byte
    read = read_data(bytes(data))
    if read is not None:
        fields = msgpack.unpackb(bytes(data[1:]), raw=True)
        assert read == Data(uuid.UUID(fields[b"GUID"].decode()).bytes, fields[b"Order"], fields[b"Data"])
