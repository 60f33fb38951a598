"""Decode the Data messages of protocol 0.1 without msgpack.

The original cuts a stream into pieces of 1 KiB, so the cost of each message decides the speed of a stream. Its library
writes the keys in a fixed order and each length in one form, so the positions of the fields are known. The codec
decodes any other form.
"""

from __future__ import annotations

from functools import lru_cache
from uuid import UUID

from hubble.protocol.binary import Buffer
from hubble.protocol.messages import Data

_HEAD = b"\x03\x83\xa4Data\xda"
"""The type byte, a map of three items, the key "Data", and a text of 32 bytes or more with a two-byte length."""
_GUID = b"\xa4GUID\xda\x00\x24"
_ORDER = b"\xa5Order"
_SIZES = {0xCC: 2, 0xCD: 3, 0xCE: 5, 0xCF: 9}
"""The size in bytes of an unsigned integer, by its first byte."""
_SESSIONS = 4096


def read_data(data: Buffer) -> Data | None:
    """Return the Data in `data`, with a view as its payload, or None if it has any other form."""
    if data[:8] != _HEAD or len(data) < 10:
        return None
    end = 10 + (data[8] << 8 | data[9])
    guid, order = end + len(_GUID), end + len(_GUID) + 36
    number = order + len(_ORDER)
    if data[end:guid] != _GUID or data[order:number] != _ORDER or number == len(data):
        return None
    first, size = data[number], len(data) - number
    if first < 0x80 and size == 1:
        count = first
    elif _SIZES.get(first) == size:
        count = int.from_bytes(data[number + 1 :], "big")
    else:
        return None
    session = _session(bytes(data[guid:order]))
    return Data(session, count, memoryview(data)[10:end]) if session and count < 1 << 63 else None


@lru_cache(_SESSIONS)
def _session(text: bytes) -> bytes:
    """Return the session id in the canonical text of a UUID, or b"" if the text is invalid."""
    try:
        session = UUID(text.decode("ascii"))
    except ValueError:
        return b""
    return session.bytes if str(session).encode() == text else b""
