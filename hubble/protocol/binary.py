"""Encode and decode the messages of a resumable session, and GOAWAY (docs/protocol.md).

The type byte is even in messages from the entry and odd in messages from the exit. The session's id follows
immediately, so that a proxy can route a message without decoding it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from hubble.base.errors import ProtocolError
from hubble.base.names import CONTROL, REPLACEMENT
from hubble.protocol.messages import Credit, Done, Eof, GoAway, Reset, ResetReason, Stream, Suspend

STREAM, CREDIT, EOF, RESET, DONE, SUSPEND = 0x10, 0x12, 0x14, 0x16, 0x18, 0x1A
GOAWAY = 0x20
FROM_EXIT = 1
"""The bit of a binary message's type that is set if the exit sent it."""
BINARY_TYPES = range(STREAM, SUSPEND + 2)
"""The types whose session id follows the type byte, up to SESSION_END."""
SESSION_END = 17

STREAM_HEADER = struct.Struct("!B16sQ")
_CREDIT = struct.Struct("!B16sQQ")
CREDIT_SIZE = _CREDIT.size
_EOF = struct.Struct("!B16sQ")
_RESET = struct.Struct("!B16sB")
_BARE = struct.Struct("!B16s")
_GOAWAY = struct.Struct("!BH")
_MAX_OFFSET = (1 << 63) - 1
_RESET_REASONS = {int(reason): reason for reason in ResetReason}
MAX_RESET_TEXT = 200
"""The longest text of a RESET, in bytes."""

Buffer = bytes | bytearray | memoryview
BinaryMessage = Stream | Credit | Eof | Reset | Done | Suspend | GoAway


def stream_header(session: bytes, from_exit: bool, offset: int) -> bytes:
    """Return the bytes of a Stream before its payload."""
    return STREAM_HEADER.pack(STREAM | from_exit, session, offset)


def read_credit(data: Buffer) -> tuple[int, int]:
    """Return the received offset and the limit of a CREDIT, whose length must be CREDIT_SIZE."""
    _, _, received, limit = _CREDIT.unpack(data)
    return received, limit


def with_limit(data: Buffer, limit: int) -> bytes:
    """Return a CREDIT with another limit."""
    return bytes(data[: CREDIT_SIZE - 8]) + limit.to_bytes(8, "big")


def _encode_stream(message: Stream) -> bytes:
    return b"".join((stream_header(message.session, message.from_exit, message.offset), message.payload))


def _decode_stream(data: Buffer) -> Stream:
    kind, session, offset = STREAM_HEADER.unpack_from(data)
    payload = memoryview(data)[STREAM_HEADER.size :]
    if not payload:
        raise ProtocolError("the STREAM has no payload")
    _check_offset(offset + len(payload))
    return Stream(session, bool(kind & FROM_EXIT), offset, payload)


def _encode_credit(message: Credit) -> bytes:
    return _CREDIT.pack(CREDIT | message.from_exit, message.session, message.received, message.limit)


def _decode_credit(data: Buffer) -> Credit:
    kind, session, received, limit = _CREDIT.unpack(data)
    _check_offset(max(received, limit))
    return Credit(session, bool(kind & FROM_EXIT), received, limit)


def _encode_eof(message: Eof) -> bytes:
    return _EOF.pack(EOF | message.from_exit, message.session, message.offset)


def _decode_eof(data: Buffer) -> Eof:
    kind, session, offset = _EOF.unpack(data)
    _check_offset(offset)
    return Eof(session, bool(kind & FROM_EXIT), offset)


def _encode_reset(message: Reset) -> bytes:
    text = message.text.encode()[:MAX_RESET_TEXT]
    return _RESET.pack(RESET | message.from_exit, message.session, message.reason) + text


def _decode_reset(data: Buffer) -> Reset:
    kind, session, reason = _RESET.unpack_from(data)
    text = bytes(data[_RESET.size : _RESET.size + MAX_RESET_TEXT]).decode("utf-8", "replace")
    text = CONTROL.sub(REPLACEMENT, text)
    known = _RESET_REASONS.get(reason, ResetReason.UNSPECIFIED)
    return Reset(session, bool(kind & FROM_EXIT), known, text)


def _encode_done(message: Done) -> bytes:
    return _BARE.pack(DONE | message.from_exit, message.session)


def _decode_done(data: Buffer) -> Done:
    kind, session = _BARE.unpack(data)
    return Done(session, bool(kind & FROM_EXIT))


def _encode_suspend(message: Suspend) -> bytes:
    return _BARE.pack(SUSPEND | message.from_exit, message.session)


def _decode_suspend(data: Buffer) -> Suspend:
    kind, session = _BARE.unpack(data)
    return Suspend(session, bool(kind & FROM_EXIT))


def _encode_goaway(message: GoAway) -> bytes:
    return _GOAWAY.pack(GOAWAY, message.seconds)


def _decode_goaway(data: Buffer) -> GoAway:
    return GoAway(_GOAWAY.unpack(data)[1])


def _check_offset(offset: int) -> None:
    if offset > _MAX_OFFSET:
        raise ProtocolError(f"the offset {offset} is out of range")


ENCODERS: dict[type, Callable[[Any], bytes]] = {
    Stream: _encode_stream,
    Credit: _encode_credit,
    Eof: _encode_eof,
    Reset: _encode_reset,
    Done: _encode_done,
    Suspend: _encode_suspend,
    GoAway: _encode_goaway,
}

DECODERS: dict[int, Callable[[Buffer], BinaryMessage]] = {GOAWAY: _decode_goaway}
for _kind, _decoder in (
    (STREAM, _decode_stream),
    (CREDIT, _decode_credit),
    (EOF, _decode_eof),
    (RESET, _decode_reset),
    (DONE, _decode_done),
    (SUSPEND, _decode_suspend),
):
    DECODERS[_kind] = DECODERS[_kind | FROM_EXIT] = _decoder
