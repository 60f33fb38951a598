"""Messages to bytes and back (docs/protocol.md).

A message is one type byte and a body. Control messages have a msgpack map as their body, in msgpack's old raw types,
with sorted keys, as the original program writes them. The messages that a resumable session is made of are binary:
their type byte is even when the entry sent them and odd when the exit did, and the session's id follows at once, so
that a proxy finds the way of a message without decoding it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any
from uuid import UUID

import msgpack

from hubble.errors import ProtocolError
from hubble.protocol.messages import (
    Ack,
    ConnectionClosed,
    Credit,
    Data,
    Done,
    Eof,
    GoAway,
    Handshake,
    Initiator,
    Message,
    Refusal,
    Reset,
    ResetReason,
    Stream,
    Suspend,
    Terminator,
    Terms,
)

MAX_MESSAGE = 1 << 20
"""The longest message, in bytes."""
MAX_TEXT = 4096
"""The longest text in a control message, in bytes."""
MAX_RESET_TEXT = 200

HANDSHAKE, INITIATOR, DATA, TERMINATOR, CONNECTION_CLOSED, ACK = 1, 2, 3, 4, 5, 255
STREAM, CREDIT, EOF, RESET, DONE, SUSPEND = 0x10, 0x12, 0x14, 0x16, 0x18, 0x1A
GOAWAY = 0x20
FROM_EXIT = 1
"""The bit of a binary message's type that says who sent it."""
BINARY_TYPES = range(STREAM, SUSPEND + 2)
"""The types whose session id stands right behind the type byte, up to SESSION_END."""
SESSION_END = 17

STREAM_HEADER = struct.Struct("!B16sQ")
_CREDIT = struct.Struct("!B16sQQ")
_EOF = struct.Struct("!B16sQ")
_RESET = struct.Struct("!B16sB")
_BARE = struct.Struct("!B16s")
_GOAWAY = struct.Struct("!BH")
_MAX_OFFSET = (1 << 63) - 1
_REFUSALS = {int(refusal): refusal for refusal in Refusal}
_RESET_REASONS = {int(reason): reason for reason in ResetReason}

Fields = dict[bytes, Any]
Buffer = bytes | bytearray | memoryview


def encode(message: Message) -> bytes:
    """The bytes of a message. Raises ProtocolError if one of its values has no place on the wire."""
    try:
        return _ENCODERS[type(message)](message)
    except (struct.error, ValueError, OverflowError, UnicodeEncodeError) as error:
        raise ProtocolError(f"{type(message).__name__} cannot be encoded: {error}") from error


def decode(data: Buffer) -> Message:
    """The message in `data`. A Stream's or a Data's bytes are a view into it: do not change `data` afterwards.

    Raises ProtocolError for anything that is no message: empty, too long, of an unknown type, malformed.
    """
    if not data:
        raise ProtocolError("an empty message")
    if len(data) > MAX_MESSAGE:
        raise ProtocolError(f"a message of {len(data)} bytes; at most {MAX_MESSAGE} are allowed")
    kind = data[0]
    decoder = _DECODERS.get(kind)
    if decoder is None:
        raise ProtocolError(f"a message of the unknown type {kind}")
    try:
        return decoder(data)
    except struct.error as error:
        raise ProtocolError(f"a malformed message of type {kind}: {error}") from error


def session_text(session: bytes) -> str:
    """A session's id as people and protocol 0.1 write it: the text of a UUID."""
    return str(UUID(bytes=session))


def stream_header(session: bytes, from_exit: bool, offset: int) -> bytes:
    """The bytes of a Stream before its payload."""
    return STREAM_HEADER.pack(STREAM | from_exit, session, offset)


# Control messages: a type byte and a msgpack map.


def _pack(kind: int, fields: dict[str, Any]) -> bytes:
    body: bytes = msgpack.packb(dict(sorted(fields.items())), use_bin_type=False)
    return bytes([kind]) + body


def _unpack(data: Buffer) -> Fields:
    try:
        # Strict: other keys than text and bytes can be made to have one hash, and would take minutes to look up.
        fields = msgpack.unpackb(memoryview(data)[1:], raw=True, strict_map_key=True)
    except (ValueError, TypeError, RecursionError, msgpack.exceptions.UnpackException) as error:
        raise ProtocolError(f"a malformed message of type {data[0]}: {error}") from error
    if not isinstance(fields, dict):
        raise ProtocolError(f"a message of type {data[0]} without a map")
    return fields


def _text(fields: Fields, key: bytes) -> str:
    value = fields.get(key, b"")
    if not isinstance(value, bytes) or len(value) > MAX_TEXT:
        raise ProtocolError(f"{key.decode()} is no text of at most {MAX_TEXT} bytes")
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise ProtocolError(f"{key.decode()} is not UTF-8") from error


def _remark(fields: Fields, key: bytes) -> str:
    """A text for people, which another program may have written: cut and mended rather than refused."""
    value = fields.get(key, b"")
    if not isinstance(value, bytes):
        raise ProtocolError(f"{key.decode()} is no text")
    return value[:MAX_TEXT].decode("utf-8", "replace")


def _integer(fields: Fields, key: bytes, most: int = _MAX_OFFSET, least: int = 0) -> int:
    value = fields.get(key, 0)
    if type(value) is not int or not least <= value <= most:
        raise ProtocolError(f"{key.decode()} is no whole number from {least} to {most}")
    return value


def _octets(fields: Fields, key: bytes, lengths: tuple[int, ...]) -> bytes:
    value = fields.get(key, b"")
    if not isinstance(value, bytes) or len(value) not in lengths:
        raise ProtocolError(f"{key.decode()} is not {lengths[-1]} bytes")
    return value


def _boolean(fields: Fields, key: bytes) -> bool:
    value = fields.get(key, False)
    if not isinstance(value, bool):
        raise ProtocolError(f"{key.decode()} is no boolean")
    return value


def _session(fields: Fields) -> bytes:
    text = _text(fields, b"GUID")
    try:
        session = UUID(text)
    except ValueError as error:
        raise ProtocolError("GUID is no UUID") from error
    if str(session) != text:
        raise ProtocolError("GUID is no UUID in its canonical form")
    return session.bytes


def _features(fields: Fields) -> frozenset[str]:
    value = fields.get(b"Features", [])
    if not isinstance(value, list) or not all(isinstance(item, bytes) for item in value):
        raise ProtocolError("Features is no list of texts")
    return frozenset(item.decode("utf-8", "replace") for item in value)


def _encode_handshake(message: Handshake) -> bytes:
    fields: dict[str, Any] = {"Key": message.key, "Name": message.name, "Version": message.version}
    if message.features:
        fields |= {
            "Epoch": message.epoch,
            "Features": sorted(message.features),
            "Instance": message.instance,
        }
    return _pack(HANDSHAKE, fields)


def _decode_handshake(data: Buffer) -> Handshake:
    fields = _unpack(data)
    return Handshake(
        name=_text(fields, b"Name"),
        key=_text(fields, b"Key"),
        version=_text(fields, b"Version"),
        features=_features(fields),
        instance=_octets(fields, b"Instance", (0, 16)),
        epoch=_integer(fields, b"Epoch"),
    )


def _terms_fields(terms: Terms | None) -> dict[str, Any]:
    if terms is None:
        return {}
    fields: dict[str, Any] = {"Attempt": terms.attempt, "Limit": terms.limit, "Received": terms.received}
    if terms.round_trip:
        fields["RoundTrip"] = terms.round_trip
    if terms.secret:
        fields |= {"Secret": terms.secret, "Resume": terms.resume}
    return fields


def _terms(fields: Fields) -> Terms | None:
    if b"Attempt" not in fields:
        return None
    return Terms(
        attempt=_integer(fields, b"Attempt", least=1),
        received=_integer(fields, b"Received"),
        limit=_integer(fields, b"Limit"),
        secret=_octets(fields, b"Secret", (0, 16)),
        resume=_boolean(fields, b"Resume"),
        round_trip=_integer(fields, b"RoundTrip"),
    )


def _encode_initiator(message: Initiator) -> bytes:
    fields: dict[str, Any] = {
        "GUID": session_text(message.session),
        "Gatename": message.gateway,
        "Key": message.key,
        "RemoteHost": message.host,
        "RemotePort": message.port,
        **_terms_fields(message.terms),
    }
    if message.path:
        fields["Path"] = message.path
    if message.source:
        fields["Source"] = message.source
    return _pack(INITIATOR, fields)


def _decode_initiator(data: Buffer) -> Initiator:
    fields = _unpack(data)
    terms = _terms(fields)
    if terms and not terms.secret:
        raise ProtocolError("Attempt without Secret")
    return Initiator(
        session=_session(fields),
        host=_text(fields, b"RemoteHost"),
        port=_integer(fields, b"RemotePort", 65535),
        gateway=_text(fields, b"Gatename"),
        key=_text(fields, b"Key"),
        terms=terms,
        path=_integer(fields, b"Path"),
        source=_text(fields, b"Source"),
    )


def _encode_data(message: Data) -> bytes:
    fields = {
        "Data": bytes(message.data),
        "GUID": session_text(message.session),
        "Order": message.order,
    }
    return _pack(DATA, fields)


def _decode_data(data: Buffer) -> Data:
    fields = _unpack(data)
    payload = fields.get(b"Data")
    if payload is None:
        payload = b""
    if not isinstance(payload, bytes):
        raise ProtocolError("Data is no bytes")
    return Data(_session(fields), _integer(fields, b"Order"), payload)


def _encode_ack(message: Ack) -> bytes:
    fields: dict[str, Any] = {
        "GUID": session_text(message.session) if message.session else "",
        "Message": "<nil>" if message.ok else message.message.encode()[:MAX_TEXT],
        "Ok": message.ok,
        **_terms_fields(message.terms),
    }
    if message.code:
        fields["Code"] = int(message.code)
    if message.features:
        fields["Features"] = sorted(message.features)
    if message.path:
        fields["Path"] = message.path
    return _pack(ACK, fields)


def _decode_ack(data: Buffer) -> Ack:
    fields = _unpack(data)
    ok = _boolean(fields, b"Ok")
    code = _integer(fields, b"Code")
    return Ack(
        session=_session(fields) if fields.get(b"GUID") else b"",
        ok=ok,
        message="" if ok else _remark(fields, b"Message"),
        code=_REFUSALS.get(code, Refusal.UNSPECIFIED),
        features=_features(fields),
        terms=_terms(fields),
        path=_integer(fields, b"Path"),
    )


def _encode_terminator(message: Terminator) -> bytes:
    return _pack(TERMINATOR, {"GUID": session_text(message.session)})


def _encode_connection_closed(message: ConnectionClosed) -> bytes:
    return _pack(CONNECTION_CLOSED, {"GUID": session_text(message.session)})


# Binary messages: a type byte, the session's id, fixed fields.


def _encode_stream(message: Stream) -> bytes:
    return b"".join((stream_header(message.session, message.from_exit, message.offset), message.payload))


def _decode_stream(data: Buffer) -> Stream:
    kind, session, offset = STREAM_HEADER.unpack_from(data)
    payload = memoryview(data)[STREAM_HEADER.size :]
    if not payload:
        raise ProtocolError("a STREAM without bytes")
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


_ENCODERS: dict[type, Callable[[Any], bytes]] = {
    Handshake: _encode_handshake,
    Initiator: _encode_initiator,
    Data: _encode_data,
    Terminator: _encode_terminator,
    ConnectionClosed: _encode_connection_closed,
    Ack: _encode_ack,
    Stream: _encode_stream,
    Credit: _encode_credit,
    Eof: _encode_eof,
    Reset: _encode_reset,
    Done: _encode_done,
    Suspend: _encode_suspend,
    GoAway: _encode_goaway,
}

_DECODERS: dict[int, Callable[[Buffer], Message]] = {
    HANDSHAKE: _decode_handshake,
    INITIATOR: _decode_initiator,
    DATA: _decode_data,
    TERMINATOR: lambda data: Terminator(_session(_unpack(data))),
    CONNECTION_CLOSED: lambda data: ConnectionClosed(_session(_unpack(data))),
    ACK: _decode_ack,
    GOAWAY: _decode_goaway,
}
for _kind, _decoder in (
    (STREAM, _decode_stream),
    (CREDIT, _decode_credit),
    (EOF, _decode_eof),
    (RESET, _decode_reset),
    (DONE, _decode_done),
    (SUSPEND, _decode_suspend),
):
    _DECODERS[_kind] = _DECODERS[_kind | FROM_EXIT] = _decoder
