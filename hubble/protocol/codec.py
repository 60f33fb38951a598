"""Encode and decode messages (docs/protocol.md).

A message is one type byte and a body. The body of a control message is a msgpack map with sorted keys, in msgpack's old
raw types, as the original program writes it. The binary messages are in `binary`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any
from uuid import UUID

import msgpack

from hubble.base.errors import ProtocolError
from hubble.base.names import CONTROL, REPLACEMENT
from hubble.protocol import binary
from hubble.protocol.binary import Buffer
from hubble.protocol.legacy.data import read_data
from hubble.protocol.legacy.words import SUCCESS
from hubble.protocol.messages import (
    Ack,
    ConnectionClosed,
    Data,
    Handshake,
    Initiator,
    Message,
    Refusal,
    Terminator,
    Terms,
)

MAX_MESSAGE = 1 << 20
"""The longest message, in bytes."""
MAX_CONTROL = 32 * 1024
"""The longest control message in bytes, and the longest Data message without its payload."""
MAX_TEXT = 4096
"""The longest text in a control message, in bytes."""
MAX_ITEMS = 32
"""The most keys in a map, and the most items in an array."""
MAX_NESTED = 32
"""The most maps and arrays in a control message. This also bounds their depth."""
MAX_FEATURE = 64
"""The longest text of a feature, in bytes."""
_SURELY_FEW = 2048
"""Maps and arrays are not counted in a Data message up to this many bytes: it cannot hold enough to be expensive."""
_MAX_INTEGER = (1 << 63) - 1

HANDSHAKE, INITIATOR, DATA, TERMINATOR, CONNECTION_CLOSED, ACK = 1, 2, 3, 4, 5, 255
_REFUSALS = {int(refusal): refusal for refusal in Refusal}

_CONTROL = frozenset({HANDSHAKE, INITIATOR, TERMINATOR, CONNECTION_CLOSED, ACK})

Fields = dict[bytes, Any]


class InvalidInitiator(ProtocolError):
    """An Initiator with an invalid field. Its `session` and `path` are valid, so that it alone can be refused."""

    def __init__(self, session: bytes, path: int, text: str) -> None:
        super().__init__(text)
        self.session = session
        self.path = path


def encode(message: Message) -> bytes:
    """Return the bytes of a message. Raises ProtocolError if the wire format cannot represent one of its values."""
    try:
        return _ENCODERS[type(message)](message)
    except (struct.error, ValueError, OverflowError, UnicodeEncodeError) as error:
        raise ProtocolError(f"{type(message).__name__} cannot be encoded: {error}") from error


def decode(data: Buffer) -> Message:
    """Return the message in `data`. A Stream's or a Data's payload is a view of it: do not change `data` afterwards.

    Raises ProtocolError for an invalid message (empty, too long, malformed, or of an unknown type), and its subclass
    InvalidInitiator for an Initiator that can be refused by itself. The cost is bounded: control messages are short
    and hold few maps and arrays.
    """
    if not data:
        raise ProtocolError("the message is empty")
    kind = data[0]
    if len(data) > MAX_CONTROL and (len(data) > MAX_MESSAGE or kind in _CONTROL):
        most = MAX_CONTROL if kind in _CONTROL else MAX_MESSAGE
        raise ProtocolError(f"the message of type {kind} has {len(data)} bytes; at most {most} are allowed")
    decoder = _DECODERS.get(kind)
    if decoder is None:
        raise ProtocolError(f"the message has the unknown type {kind}")
    try:
        return decoder(data)
    except struct.error as error:
        raise ProtocolError(f"the message of type {kind} is malformed: {error}") from error


def session_text(session: bytes) -> str:
    """Return a session's id as the text of a UUID, as logs and protocol 0.1 write it."""
    return str(UUID(bytes=session))


# Control messages: a type byte and a msgpack map.


def _pack(kind: int, fields: dict[str, Any]) -> bytes:
    body: bytes = msgpack.packb(dict(sorted(fields.items())), use_bin_type=False)
    return bytes([kind]) + body


def _unpack(data: Buffer) -> Fields:
    count = _Count() if data[0] != DATA or len(data) > _SURELY_FEW else None
    try:
        # Strict: a peer could choose keys other than text and bytes that share one hash; lookups would take minutes.
        fields = msgpack.unpackb(
            memoryview(data)[1:],
            raw=True,
            strict_map_key=True,
            object_hook=count,
            list_hook=count,
            max_map_len=MAX_ITEMS,
            max_array_len=MAX_ITEMS,
        )
    except (ValueError, TypeError, RecursionError, msgpack.exceptions.UnpackException) as error:
        raise ProtocolError(f"the message of type {data[0]} is malformed: {error}") from error
    if not isinstance(fields, dict):
        raise ProtocolError(f"the body of the message of type {data[0]} is not a map")
    return fields


class _Count:
    """Raise ValueError once a message holds too many maps and arrays: each takes far more memory than its one byte."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = MAX_NESTED

    def __call__(self, item: Any) -> Any:
        self._left -= 1
        if self._left < 0:
            raise ValueError(f"more than {MAX_NESTED} maps and arrays")
        return item


def _text(fields: Fields, key: bytes) -> str:
    value = fields.get(key, b"")
    if not isinstance(value, bytes) or len(value) > MAX_TEXT:
        raise ProtocolError(f"{key.decode()} is not a text of at most {MAX_TEXT} bytes")
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise ProtocolError(f"{key.decode()} is not UTF-8") from error


def _clean_text(fields: Fields, key: bytes) -> str:
    """Return a text for scripts, logs and other programs, which do not expect NUL or line breaks in it."""
    text = _text(fields, key)
    if CONTROL.search(text):
        raise ProtocolError(f"{key.decode()} contains a control character")
    return text


def _remark(fields: Fields, key: bytes) -> str:
    """Return a text for people. Other programs may have written it, so invalid parts are replaced, not refused."""
    value = fields.get(key, b"")
    if not isinstance(value, bytes):
        raise ProtocolError(f"{key.decode()} is not a text")
    return CONTROL.sub(REPLACEMENT, value[:MAX_TEXT].decode("utf-8", "replace"))


def _integer(fields: Fields, key: bytes, most: int = _MAX_INTEGER, least: int = 0) -> int:
    value = fields.get(key, 0)
    if type(value) is not int or not least <= value <= most:
        raise ProtocolError(f"{key.decode()} is not a whole number from {least} to {most}")
    return value


def _octets(fields: Fields, key: bytes, lengths: tuple[int, ...]) -> bytes:
    value = fields.get(key, b"")
    if not isinstance(value, bytes) or len(value) not in lengths:
        raise ProtocolError(f"{key.decode()} is not {lengths[-1]} bytes")
    return value


def _boolean(fields: Fields, key: bytes) -> bool:
    value = fields.get(key, False)
    if not isinstance(value, bool):
        raise ProtocolError(f"{key.decode()} is not a boolean")
    return value


def _session(fields: Fields) -> bytes:
    text = _text(fields, b"GUID")
    try:
        session = UUID(text)
    except ValueError as error:
        raise ProtocolError("GUID is not a UUID") from error
    if str(session) != text:
        raise ProtocolError("GUID is not a UUID in canonical form")
    return session.bytes


def _features(fields: Fields) -> frozenset[str]:
    value = fields.get(b"Features", [])
    if not isinstance(value, list) or not all(isinstance(item, bytes) and len(item) <= MAX_FEATURE for item in value):
        raise ProtocolError(f"Features is not a list of texts of at most {MAX_FEATURE} bytes")
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
    session, path = _session(fields), _integer(fields, b"Path")
    try:
        terms = _terms(fields)
        if terms and not terms.secret:
            raise ProtocolError("Secret is missing beside Attempt")
        return Initiator(
            session=session,
            host=_clean_text(fields, b"RemoteHost"),
            port=_integer(fields, b"RemotePort", 65535),
            gateway=_clean_text(fields, b"Gatename"),
            key=_clean_text(fields, b"Key"),
            terms=terms,
            path=path,
            source=_clean_text(fields, b"Source"),
        )
    except ProtocolError as error:
        raise InvalidInitiator(session, path, str(error)) from error


def _encode_data(message: Data) -> bytes:
    fields = {
        "Data": bytes(message.data),
        "GUID": session_text(message.session),
        "Order": message.order,
    }
    return _pack(DATA, fields)


def _decode_data(data: Buffer) -> Data:
    message = read_data(data)
    if message is not None:
        return message
    fields = _unpack(data)
    payload = fields.get(b"Data")
    if payload is None:
        payload = b""
    if not isinstance(payload, bytes):
        raise ProtocolError("Data is not bytes")
    if len(data) - len(payload) > MAX_CONTROL:
        raise ProtocolError(f"the Data message has more than {MAX_CONTROL} bytes besides its payload")
    return Data(_session(fields), _integer(fields, b"Order"), payload)


def _encode_ack(message: Ack) -> bytes:
    fields: dict[str, Any] = {
        "GUID": session_text(message.session) if message.session else "",
        "Message": SUCCESS if message.ok else message.message.encode()[:MAX_TEXT],
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


_ENCODERS: dict[type, Callable[[Any], bytes]] = {
    Handshake: _encode_handshake,
    Initiator: _encode_initiator,
    Data: _encode_data,
    Terminator: _encode_terminator,
    ConnectionClosed: _encode_connection_closed,
    Ack: _encode_ack,
    **binary.ENCODERS,
}

_DECODERS: dict[int, Callable[[Buffer], Message]] = {
    HANDSHAKE: _decode_handshake,
    INITIATOR: _decode_initiator,
    DATA: _decode_data,
    TERMINATOR: lambda data: Terminator(_session(_unpack(data))),
    CONNECTION_CLOSED: lambda data: ConnectionClosed(_session(_unpack(data))),
    ACK: _decode_ack,
    **binary.DECODERS,
}
