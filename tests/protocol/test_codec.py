from __future__ import annotations

import json
import struct
import time
from dataclasses import fields, replace
from pathlib import Path
from typing import Any
from uuid import UUID

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hubble.base.errors import ProtocolError
from hubble.protocol import binary, codec
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

VECTORS = Path(__file__).parent / "vectors"
RECORDED = json.loads((VECTORS / "wire-0.1.json").read_text())
EXTENSION = json.loads((VECTORS / "extension.json").read_text())
MESSAGES: dict[str, type] = {
    message.__name__: message
    for message in (
        *(Handshake, Initiator, Data, Terminator, ConnectionClosed, Ack),
        *(Stream, Credit, Eof, Reset, Done, Suspend, GoAway),
    )
}

SESSION = bytes(range(16))
GUID = "00010203-0405-0607-0809-0a0b0c0d0e0f"


def packed(kind: int, body: object, **options: Any) -> bytes:
    """A control message whose map is written by msgpack itself: with the new types, in the order given."""
    return bytes([kind]) + msgpack.packb(body, **options)


# Protocol 0.1, as recorded from the original program.


@pytest.mark.parametrize("vector", RECORDED, ids=lambda vector: f"{vector['scenario']} {vector['message']}")
def test_every_recorded_message_is_decoded_and_encoded_again_byte_for_byte(vector: dict[str, str]) -> None:
    recorded = bytes.fromhex(vector["hex"])
    message = codec.decode(recorded)
    assert type(message).__name__.upper() == vector["message"].replace("_", "")
    assert codec.encode(message) == recorded


def test_what_the_recorded_messages_say() -> None:
    messages = [codec.decode(bytes.fromhex(vector["hex"])) for vector in RECORDED]
    assert messages[0] == Handshake(name="agent2", key="kB", version="0.1")
    assert messages[1] == Ack(session=b"", ok=True)
    first = messages[4]
    assert isinstance(first, Initiator)
    assert codec.session_text(first.session) == "aca426d3-bc3a-4460-bb60-194eb2ae02a0"
    assert (first.host, first.port, first.gateway, first.key) == ("127.0.0.1", 19000, "agent2", "sekret")
    assert first.terms is None
    assert Data(first.session, 1, b"hello") in messages
    assert Data(first.session, 2, b"") in messages
    refusals = {message.message for message in messages if isinstance(message, Ack) and not message.ok}
    assert "Gateway not registered" in refusals


def shuffled(body: dict[str, Any]) -> dict[str, Any]:
    return dict(reversed(body.items()))


INITIATOR_BODY = {"GUID": GUID, "RemoteHost": "db", "RemotePort": 22, "Gatename": "agent2", "Key": "k"}
INITIATOR = Initiator(session=SESSION, host="db", port=22, gateway="agent2", key="k")


@pytest.mark.parametrize("new_types", [True, False])
@pytest.mark.parametrize("order", [dict, shuffled])
def test_key_order_and_string_types_do_not_matter(new_types: bool, order: Any) -> None:
    assert codec.decode(packed(codec.INITIATOR, order(INITIATOR_BODY), use_bin_type=new_types)) == INITIATOR


@pytest.mark.parametrize("as_text", [str.encode, str])
def test_text_may_come_as_bytes(as_text: Any) -> None:
    body = {as_text(key): as_text(value) if isinstance(value, str) else value for key, value in INITIATOR_BODY.items()}
    assert codec.decode(packed(codec.INITIATOR, body)) == INITIATOR


@pytest.mark.parametrize("header", [b"\xa3", b"\xd9\x03", b"\xda\0\x03", b"\xdb\0\0\0\x03", b"\xc4\x03", b"\xc5\0\x03"])
def test_any_type_of_string_is_accepted(header: bytes) -> None:
    assert codec.decode(b"\x01\x81\xa4Name" + header + b"abc") == Handshake(name="abc", version="")


@pytest.mark.parametrize(
    "port",
    ["16", "cc16", "cd0016", "ce00000016", "cf0000000000000016", "d016", "d10016", "d200000016", "d30000000000000016"],
)
def test_any_width_of_integer_is_accepted(port: str) -> None:
    body = packed(codec.INITIATOR, {**INITIATOR_BODY, "RemotePort": 0}, use_bin_type=False)
    assert body.count(b"RemotePort\0") == 1
    assert codec.decode(body.replace(b"RemotePort\0", b"RemotePort" + bytes.fromhex(port))) == INITIATOR


@pytest.mark.parametrize("header", [b"\x85", b"\xde\0\x05", b"\xdf\0\0\0\x05"], ids=bytes.hex)
def test_any_width_of_map_is_accepted(header: bytes) -> None:
    body = packed(codec.INITIATOR, INITIATOR_BODY)
    assert codec.decode(body[:1] + header + body[2:]) == INITIATOR


@pytest.mark.parametrize(
    ("kind", "body", "expected"),
    [
        (codec.HANDSHAKE, {}, Handshake(name="", version="")),
        (codec.INITIATOR, {"GUID": GUID}, Initiator(session=SESSION, host="", port=0, gateway="")),
        (codec.DATA, {"GUID": GUID}, Data(SESSION, 0, b"")),
        (codec.DATA, {"GUID": GUID, "Order": 3, "Data": None}, Data(SESSION, 3, b"")),
        (codec.ACK, {}, Ack(session=b"", ok=False)),
        (codec.ACK, {"GUID": "", "Ok": True, "Message": "<nil>"}, Ack(session=b"", ok=True)),
    ],
)
def test_missing_keys_stand_for_nothing(kind: int, body: dict[str, Any], expected: Message) -> None:
    assert codec.decode(packed(kind, body)) == expected


@pytest.mark.parametrize("kind", [codec.INITIATOR, codec.DATA, codec.TERMINATOR, codec.CONNECTION_CLOSED])
def test_a_message_of_no_session_is_none(kind: int) -> None:
    with pytest.raises(ProtocolError, match="GUID"):
        codec.decode(packed(kind, {}))


def test_unknown_keys_are_ignored() -> None:
    extra = {"Later": 1, "Nested": {"a": [1, 2.5, None, {"b": True}]}, "Time": msgpack.Timestamp(1, 2)}
    assert codec.decode(packed(codec.INITIATOR, {**INITIATOR_BODY, **extra})) == INITIATOR


def test_the_longest_and_the_one_that_is_too_long() -> None:
    around = len(codec.encode(Stream(SESSION, False, 0, b"x"))) - 1
    longest = codec.encode(Stream(SESSION, False, 0, bytes(codec.MAX_MESSAGE - around)))
    assert isinstance(codec.decode(longest), Stream)
    with pytest.raises(ProtocolError, match=str(codec.MAX_MESSAGE)):
        codec.decode(longest + b"x")


def test_data_of_64_kib() -> None:
    message = Data(SESSION, 1 << 40, bytes(range(256)) * 256)
    assert codec.decode(codec.encode(message)) == message


# The extension.


def described(name: str, values: dict[str, Any]) -> Message:
    """The message that a vector's fields describe: bytes are written in hex, enumerations by name."""

    def value(key: str, given: Any) -> Any:
        match key:
            case "session" | "instance" | "secret" | "payload":
                return bytes.fromhex(given)
            case "features":
                return frozenset(given)
            case "terms":
                return Terms(**{inner: value(inner, it) for inner, it in given.items()})
            case "code":
                return Refusal[given]
            case "reason":
                return ResetReason[given]
        return given

    message: Message = MESSAGES[name](**{key: value(key, given) for key, given in values.items()})
    return message


@pytest.mark.parametrize("vector", EXTENSION, ids=lambda vector: vector["name"])
def test_every_vector_of_the_extension_both_ways(vector: dict[str, Any]) -> None:
    message = described(vector["message"], vector["fields"])
    assert codec.encode(message).hex() == vector["hex"]
    assert codec.decode(bytes.fromhex(vector["hex"])) == message


def test_the_vectors_show_every_message_reason_and_code() -> None:
    shown = {vector["message"] for vector in EXTENSION}
    assert shown >= {"Stream", "Credit", "Eof", "Reset", "Done", "Suspend", "GoAway", "Handshake", "Initiator", "Ack"}
    assert {vector["fields"].get("reason") for vector in EXTENSION} >= {reason.name for reason in ResetReason}
    codes = {vector["fields"].get("code") for vector in EXTENSION}
    assert codes >= {code.name for code in Refusal if code is not Refusal.UNSPECIFIED}


def test_a_session_s_id_stands_in_the_bytes_1_to_17_of_every_binary_message() -> None:
    for vector in EXTENSION:
        if vector["message"] in ("Stream", "Credit", "Eof", "Reset", "Done", "Suspend"):
            data = bytes.fromhex(vector["hex"])
            assert data[0] in binary.BINARY_TYPES
            assert data[1:17].hex() == vector["fields"]["session"]
            assert bool(data[0] & binary.FROM_EXIT) is vector["fields"]["from_exit"]


def test_no_control_message_is_taken_for_a_binary_one() -> None:
    control = {codec.HANDSHAKE, codec.INITIATOR, codec.DATA, codec.TERMINATOR, codec.CONNECTION_CLOSED, codec.ACK}
    assert not (control | {binary.GOAWAY}) & set(binary.BINARY_TYPES)


def test_a_session_is_written_as_the_text_of_a_uuid() -> None:
    assert codec.session_text(SESSION) == GUID


def test_the_header_of_a_stream_is_what_stands_before_its_payload() -> None:
    message = Stream(SESSION, True, 7, b"payload")
    assert binary.stream_header(SESSION, True, 7) + b"payload" == codec.encode(message)


def test_a_peer_without_the_extension_is_sent_none_of_its_keys() -> None:
    assert codec.encode(INITIATOR) == packed(codec.INITIATOR, dict(sorted(INITIATOR_BODY.items())), use_bin_type=False)
    plain = codec.encode(Ack(SESSION, ok=True))
    assert msgpack.unpackb(plain[1:]).keys() == {"GUID", "Ok", "Message"}
    plain = codec.encode(Handshake(name="a", key="b"))
    assert msgpack.unpackb(plain[1:]).keys() == {"Name", "Key", "Version"}


def test_unknown_reasons_and_codes_are_unspecified() -> None:
    assert codec.decode(struct.pack("!B16sB", binary.RESET, SESSION, 200)) == Reset(
        SESSION, False, ResetReason.UNSPECIFIED
    )
    assert codec.decode(packed(codec.ACK, {"GUID": GUID, "Code": 4711})) == Ack(SESSION, ok=False)


def test_a_reset_s_text_is_cut_and_never_fails() -> None:
    long = Reset(SESSION, False, ResetReason.LOCAL_RESET, "é" * 500)
    cut = codec.decode(codec.encode(long))
    assert isinstance(cut, Reset)
    assert cut.text == "é" * (binary.MAX_RESET_TEXT // 2)
    split = struct.pack("!B16sB", binary.RESET, SESSION, 1) + b"bad \xff utf-8" + b"x" * 1000
    decoded = codec.decode(split)
    assert isinstance(decoded, Reset)
    assert decoded.text.startswith("bad \ufffd utf-8")


def test_a_refusal_of_any_length_and_encoding_is_understood() -> None:
    """Its text is for people, and often another program's: a script's error, a resolver's."""
    long = codec.decode(codec.encode(Ack(SESSION, ok=False, message="é" * codec.MAX_TEXT)))
    assert isinstance(long, Ack)
    assert long.message == "é" * (codec.MAX_TEXT // 2)
    odd = codec.decode(packed(codec.ACK, {"GUID": GUID, "Message": b"\xff" + b"x" * 10_000}))
    assert isinstance(odd, Ack)
    assert odd.message.startswith("\ufffdxxx")
    assert len(odd.message) <= codec.MAX_TEXT


def test_the_bytes_of_a_stream_are_not_copied() -> None:
    data = codec.encode(Stream(SESSION, False, 0, b"payload"))
    decoded = codec.decode(data)
    assert isinstance(decoded, Stream)
    assert isinstance(decoded.payload, memoryview)
    assert decoded.payload.obj is data


# Round trips.

sessions = st.binary(min_size=16, max_size=16)
offsets = st.integers(0, (1 << 63) - 1) | st.integers(0, 1 << 17)
texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=60)
payloads = st.binary(min_size=1, max_size=300)
features = st.frozensets(st.text(st.characters(exclude_categories=["Cs"]), max_size=16), min_size=1, max_size=4)
attempts = st.integers(1, (1 << 63) - 1)
answers = st.builds(Terms, attempt=attempts, received=offsets, limit=offsets)
offers = st.builds(replace, answers, secret=sessions, resume=st.booleans())

handshakes = st.builds(Handshake, name=texts, key=texts, version=texts) | st.builds(
    Handshake,
    name=texts,
    key=texts,
    features=features,
    instance=sessions | st.just(b""),
    epoch=offsets,
)
initiators = st.builds(
    Initiator,
    session=sessions,
    host=texts,
    port=st.integers(0, 65535),
    gateway=texts,
    key=texts,
    terms=st.none() | offers,
    path=offsets,
    source=texts,
)
acks = st.builds(
    Ack,
    session=sessions | st.just(b""),
    ok=st.just(True),
    features=features | st.just(frozenset()),
    terms=st.none() | answers,
    path=offsets,
) | st.builds(Ack, session=sessions, ok=st.just(False), message=texts, code=st.sampled_from(Refusal), path=offsets)
messages = st.one_of(
    handshakes,
    initiators,
    acks,
    st.builds(Data, sessions, offsets, st.binary(max_size=300)),
    st.builds(Terminator, sessions),
    st.builds(ConnectionClosed, sessions),
    st.builds(Stream, sessions, st.booleans(), st.integers(0, (1 << 63) - 301), payloads),
    st.builds(Credit, sessions, st.booleans(), offsets, offsets),
    st.builds(Eof, sessions, st.booleans(), offsets),
    st.builds(Reset, sessions, st.booleans(), st.sampled_from(ResetReason), texts.filter(lambda t: len(t) < 50)),
    st.builds(Done, sessions, st.booleans()),
    st.builds(Suspend, sessions, st.booleans()),
    st.builds(GoAway, st.integers(0, 65535)),
)


def as_bytes(data: bytes) -> bytes:
    return data


@given(message=messages, buffer=st.sampled_from([as_bytes, bytearray, memoryview]))
def test_every_message_comes_back_as_it_was(message: Message, buffer: Any) -> None:
    encoded = codec.encode(message)
    assert type(encoded) is bytes
    assert codec.decode(buffer(encoded)) == message


@given(message=messages)
def test_what_comes_back_is_encoded_alike(message: Message) -> None:
    encoded = codec.encode(message)
    assert codec.encode(codec.decode(encoded)) == encoded


@pytest.mark.parametrize(
    "message",
    [
        Terminator(b"short"),
        Handshake(name="\udc80"),
        Initiator(SESSION, "\udc80", 1, "gate"),
        Data(SESSION, -1 << 70, b""),
        Data(SESSION, 1 << 70, b""),
        Stream(SESSION, False, -1, b"x"),
        Stream(SESSION, False, 1 << 64, b"x"),
        Credit(SESSION, False, 0, 1 << 64),
        Eof(SESSION, False, -1),
        GoAway(65536),
        GoAway(-1),
    ],
    ids=repr,
)
def test_what_has_no_place_on_the_wire_is_refused(message: Message) -> None:
    with pytest.raises(ProtocolError, match=f"{type(message).__name__} cannot be encoded"):
        codec.encode(message)


# What is no message raises ProtocolError, and nothing else ever does.


def decodes_or_refuses(data: bytes) -> None:
    """Decode `data`: the result is a message, or ProtocolError with one line of text for a person."""
    try:
        message = codec.decode(data)
    except ProtocolError as error:
        assert str(error).isprintable()
    else:
        assert type(message) in MESSAGES.values()


@pytest.mark.parametrize("data", [b"", bytearray(), memoryview(b"")], ids=["bytes", "bytearray", "memoryview"])
def test_an_empty_message(data: Any) -> None:
    with pytest.raises(ProtocolError, match="empty"):
        codec.decode(data)


CONTROL_TYPES = [codec.HANDSHAKE, codec.INITIATOR, codec.TERMINATOR, codec.CONNECTION_CLOSED, codec.ACK]


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("kind", CONTROL_TYPES)
def test_a_control_message_is_bounded_in_size(kind: int) -> None:
    around = len(packed(kind, {"GUID": GUID, "Padding": bytes(20_000)})) - 20_000
    longest = packed(kind, {"GUID": GUID, "Padding": bytes(codec.MAX_CONTROL - around)})
    assert len(longest) == codec.MAX_CONTROL
    assert codec.decode(longest)
    with pytest.raises(ProtocolError, match=f"at most {codec.MAX_CONTROL} are allowed"):
        codec.decode(packed(kind, {"GUID": GUID, "Padding": bytes(codec.MAX_CONTROL - around + 1)}))


@pytest.mark.parametrize("kind", [*CONTROL_TYPES, codec.DATA])
@pytest.mark.parametrize(
    "value",
    [
        [0] * (codec.MAX_ITEMS + 1),
        {str(number): 0 for number in range(codec.MAX_ITEMS + 1)},
        [[[] for _ in range(8)] for _ in range(8)] + [bytes(3000)],
        [{}] * codec.MAX_ITEMS + [bytes(3000)],
        [nested(codec.MAX_NESTED), bytes(3000)],
        [nested(400), bytes(3000)],
    ],
    ids=["items", "keys", "arrays", "maps", "depth", "more depth"],
)
def test_what_is_expensive_to_decode_is_refused(kind: int, value: Any) -> None:
    with pytest.raises(ProtocolError):
        codec.decode(packed(kind, {"GUID": GUID, "x": value}))


UNIT = {"maps": b"\x80", "arrays": b"\x90", "keys": b"\x81\xa1a", "short texts": b"\xa2ab", "integers": b"\xcd\xff\xff"}


@pytest.mark.parametrize("unit", UNIT.values(), ids=UNIT)
@pytest.mark.parametrize("shape", ["flat", "nested", "open"])
@pytest.mark.parametrize(("kind", "size"), [(codec.HANDSHAKE, codec.MAX_CONTROL), (codec.DATA, codec.MAX_MESSAGE)])
def test_refusing_costs_little_however_the_body_is_made(kind: int, size: int, shape: str, unit: bytes) -> None:
    head = bytes([kind]) + b"\x81\xa1x"
    room = size - len(head) - 5
    open_array = b"\xdc" + codec.MAX_ITEMS.to_bytes(2, "big") + unit * (codec.MAX_ITEMS - 1)
    body = {
        "flat": b"\xdd" + (room // len(unit)).to_bytes(4, "big") + unit * (room // len(unit)),
        "nested": (b"\xdc" + codec.MAX_ITEMS.to_bytes(2, "big")) * 3 + unit * (room // len(unit) - 9),
        "open": open_array * (room // len(open_array)),
    }[shape]
    spent = []
    for _ in range(5):
        started = time.process_time()
        with pytest.raises(ProtocolError):
            codec.decode(head + body)
        spent.append(time.process_time() - started)
    assert min(spent) < 0.01  # measured: 0.001 s at most


def test_features_are_few_and_short() -> None:
    many = {"Features": [f"f{number}" for number in range(codec.MAX_ITEMS)]}
    assert len(codec.decode(packed(codec.HANDSHAKE, many)).features) == codec.MAX_ITEMS  # type: ignore[union-attr]
    for features in ([*many["Features"], "x"], ["x" * (codec.MAX_FEATURE + 1)], [f"f{n}" for n in range(120_000)]):
        with pytest.raises(ProtocolError):
            codec.decode(packed(codec.HANDSHAKE, {"Features": features}))


def test_a_data_is_bounded_beside_its_bytes() -> None:
    body = {"GUID": GUID, "Order": 1, "Data": bytes(1 << 19)}
    assert codec.decode(packed(codec.DATA, body | {"More": bytes(1000)})) == Data(SESSION, 1, bytes(1 << 19))
    with pytest.raises(ProtocolError, match="besides its payload"):
        codec.decode(packed(codec.DATA, body | {"More": bytes(codec.MAX_CONTROL)}))


@pytest.mark.parametrize("character", ["\0", "\r", "\n", "\x1b", "\x7f", "\x85", "\x9b"])
@pytest.mark.parametrize("key", ["RemoteHost", "Gatename", "Key", "Source"])
def test_an_initiator_with_a_control_character_can_be_refused_by_itself(key: str, character: str) -> None:
    with pytest.raises(codec.InvalidInitiator) as caught:
        codec.decode(packed(codec.INITIATOR, {**INITIATOR_BODY, "Path": 7, key: f"a{character}b"}))
    assert (caught.value.session, caught.value.path) == (SESSION, 7)
    assert str(caught.value) == f"{key} contains a control character"


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"RemoteHost": "x" * 4097}, "RemoteHost is not a text of at most 4096 bytes"),
        ({"RemotePort": 65536}, "RemotePort is not a whole number"),
        ({"Attempt": 1}, "Secret is missing beside Attempt"),
        ({"Key": 5}, "Key is not a text"),
    ],
)
def test_an_initiator_whose_session_is_known_can_be_refused_by_itself(change: dict[str, Any], wrong: str) -> None:
    with pytest.raises(codec.InvalidInitiator, match=wrong):
        codec.decode(packed(codec.INITIATOR, {**INITIATOR_BODY, **change}))


def test_texts_for_people_lose_their_control_characters() -> None:
    ack = codec.decode(packed(codec.ACK, {"GUID": GUID, "Message": "no\x1b[2J\nsuch"}))
    assert isinstance(ack, Ack) and ack.message == "no\ufffd[2J\ufffdsuch"
    reset = codec.decode(struct.pack("!B16sB", binary.RESET, SESSION, 1) + b"gone\x1b[2J")
    assert isinstance(reset, Reset) and reset.text == "gone\ufffd[2J"


KNOWN_TYPES = {1, 2, 3, 4, 5, 255, *range(0x10, 0x1C), 0x20}


@pytest.mark.parametrize("kind", sorted(set(range(256)) - KNOWN_TYPES))
def test_an_unknown_type(kind: int) -> None:
    with pytest.raises(ProtocolError, match=f"unknown type {kind}"):
        codec.decode(bytes([kind]) + packed(0, INITIATOR_BODY)[1:])


@pytest.mark.parametrize("vector", [*RECORDED[:20], *EXTENSION], ids=lambda vector: vector["message"])
def test_every_truncation(vector: dict[str, Any]) -> None:
    data = bytes.fromhex(vector["hex"])
    shortest = {"Stream": 26, "Reset": 18}.get(vector["message"], len(data))  # these two end anywhere after that
    for length in range(shortest):
        with pytest.raises(ProtocolError):
            codec.decode(data[:length])


OF_ANY_LENGTH = ("Stream", "Reset")


@pytest.mark.parametrize(
    "vector",
    [vector for vector in [*RECORDED[:20], *EXTENSION] if vector["message"] not in OF_ANY_LENGTH],
    ids=lambda vector: vector["message"],
)
def test_something_behind_a_message(vector: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError):
        codec.decode(bytes.fromhex(vector["hex"]) + b"\0")


NUMBERS = ["RemotePort", "Order", "Epoch", "Attempt", "Received", "Limit", "Path", "Code"]
TEXTS = ["Name", "Key", "Version", "RemoteHost", "Gatename", "Source", "GUID"]
KIND_OF = {
    **dict.fromkeys(["Name", "Version", "Epoch", "Instance", "Features", "Key"], codec.HANDSHAKE),
    **dict.fromkeys(["Order", "Data"], codec.DATA),
    **dict.fromkeys(["Code", "Message", "Ok"], codec.ACK),
}
COMPLETE = {"GUID": GUID, "Attempt": 1, "Secret": bytes(16)}
WRONG_NUMBERS = [-1, 1 << 63, (1 << 64) - 1, True, False, 1.0, None, b"1", [], {}, msgpack.ExtType(5, b"x")]
WRONG_TEXTS = [0, True, None, [], {}, b"\xff\xfe", b"x" * 4097, msgpack.Timestamp(0)]
WRONG_FEATURES: list[Any] = ["resumable", 1, None, {"resumable": 1}, [1], [None], [["resumable"]]]
WRONG_BOOLEANS: list[Any] = [0, 1, None, b"true", []]
WRONG_OCTETS: list[Any] = [b"x", b"x" * 15, b"x" * 17, 0, None, [0] * 16, True]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *((key, value) for key in NUMBERS for value in WRONG_NUMBERS),
        *((key, value) for key in TEXTS for value in WRONG_TEXTS),
        *((key, value) for key in ("Instance", "Secret") for value in WRONG_OCTETS),
        *(("Features", value) for value in WRONG_FEATURES),
        *((key, value) for key in ("Ok", "Resume") for value in WRONG_BOOLEANS),
        ("Data", 0),
        ("Data", True),
        ("Data", []),
        ("Data", {}),
        ("Data", msgpack.ExtType(5, b"x")),
        ("Message", 0),
        ("Message", []),
        ("Message", {}),
        *(("GUID", value) for value in (GUID.upper(), "{" + GUID + "}", GUID.replace("-", ""), f"urn:uuid:{GUID}")),
        *(("GUID", value) for value in ("x", GUID + " ", "\u0660" * 32, GUID[:-1] + "\u0666", "-" * 36)),
        ("RemotePort", 65536),
        ("Attempt", 0),
    ],
    ids=repr,
)
def test_a_value_of_the_wrong_kind(key: str, value: Any) -> None:
    kind = KIND_OF.get(key, codec.INITIATOR)
    assert codec.decode(packed(kind, COMPLETE))
    with pytest.raises(ProtocolError, match=key):
        codec.decode(packed(kind, {**COMPLETE, key: value}))


def test_an_initiator_that_offers_terms_must_have_a_secret() -> None:
    """A session opened without one could be taken over by anybody who knows its id."""
    with pytest.raises(ProtocolError, match="Secret"):
        codec.decode(packed(codec.INITIATOR, {"GUID": GUID, "Attempt": 1}))
    with pytest.raises(ProtocolError, match="Secret"):
        codec.decode(packed(codec.INITIATOR, {"GUID": GUID, "Attempt": 1, "Secret": b""}))


@pytest.mark.parametrize(
    "body",
    [None, True, 1, -1, 1.5, "text", b"bytes", [], [{}], msgpack.ExtType(1, b"x"), msgpack.Timestamp(1), 1 << 63],
    ids=repr,
)
@pytest.mark.parametrize("kind", [codec.HANDSHAKE, codec.DATA, codec.ACK])
def test_a_body_that_is_no_map(kind: int, body: object) -> None:
    with pytest.raises(ProtocolError):
        codec.decode(packed(kind, body))


@pytest.mark.parametrize("key", [1, 1.5, None, True, [], msgpack.Timestamp(1, 2), msgpack.ExtType(3, b"key")], ids=repr)
def test_a_key_that_is_no_text(key: Any) -> None:
    body = b"\x82" + msgpack.packb(key) + b"\0" + msgpack.packb("Name") + msgpack.packb("agent")
    with pytest.raises(ProtocolError):
        codec.decode(bytes([codec.HANDSHAKE]) + body)


@pytest.mark.parametrize(
    "data",
    [
        b"\x01\x81\xa4Name" + b"\x91" * 100_000,  # a list in a list in a list
        b"\x01" + b"\x81\xa1k" * 100_000,
        b"\x01" + b"\x81" * 100_000,  # a map as the key of a map
        b"\x01\xdf\xff\xff\xff\xff",  # 2**32 pairs
        b"\x01\x81\xa4Name\xdd\xff\xff\xff\xff",
        b"\x01\x81\xa4Name\xdb\xff\xff\xff\xff",
        b"\x01\x81\xa4Name\xc6\xff\xff\xff\xff",
        b"\x01\x81\xa4Name\xc9\xff\xff\xff\xff\x01",
        b"\x01\x81\xa4Name\xc1",  # the one byte that msgpack never uses
        b"\x01\x81\xa4Name\xd4\xff\x00",  # a timestamp of one byte
        b"\x01\x81\xa4Name\xd7\xff" + b"\xff" * 8,  # a timestamp with too many nanoseconds
        b"\x01\x81\xa4Name\xc7\x0c\xff" + b"\xff" * 12,
    ],
    ids=lambda data: data[:16].hex(),
)
def test_msgpack_made_to_hurt(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        codec.decode(data)
    decodes_or_refuses(data)


def colliding_keys(count: int) -> bytes:
    """A map of `count` timestamps that all have one hash: Python hashes them as a tuple of two integers, unseeded.

    The tuple's hash is xxHash's round for each item (Objects/tupleobject.c), here run backwards from one result.
    """
    mask, prime_1, prime_2, prime_5 = (1 << 64) - 1, 11400714785074694791, 14029467366897019727, 2870177450012600261
    back_1, back_2 = pow(prime_1, -1, 1 << 64), pow(prime_2, -1, 1 << 64)

    def before(state: int, item: int) -> int:
        state = state * back_1 & mask
        return ((state >> 31 | state << 33) - item * prime_2) & mask

    keys: list[bytes] = []
    nanoseconds = 0
    while len(keys) < count:
        seconds = (before(before(12345, nanoseconds), 0) - prime_5) * back_2 & mask
        if seconds < (1 << 61) - 2:  # an integer below this is its own hash
            keys.append(b"\xc7\x0c\xff" + struct.pack("!IQ", nanoseconds, seconds) + b"\0")
        nanoseconds += 1
    return b"\xdf" + struct.pack("!I", count) + b"".join(keys)


def test_keys_with_one_hash_do_not_hold_the_process() -> None:
    """1 MiB of them would otherwise keep the whole hub waiting for minutes, before anybody has logged in."""
    data = bytes([codec.HANDSHAKE]) + colliding_keys(8000)
    begun = time.process_time()
    with pytest.raises(ProtocolError):
        codec.decode(data)
    assert time.process_time() - begun < 0.5


@given(st.binary(max_size=200))
def test_arbitrary_bytes(data: bytes) -> None:
    decodes_or_refuses(data)


@given(kind=st.sampled_from(sorted(KNOWN_TYPES)), body=st.binary(max_size=200))
@example(kind=binary.STREAM, body=bytes(24))
@example(kind=binary.STREAM, body=SESSION + b"\xff" * 9)
@example(kind=binary.CREDIT, body=b"\xff" * 32)
def test_arbitrary_bytes_behind_a_known_type(kind: int, body: bytes) -> None:
    decodes_or_refuses(bytes([kind]) + body)


@given(message=messages, data=st.data())
def test_a_message_with_some_bytes_changed(message: Message, data: st.DataObject) -> None:
    encoded = bytearray(codec.encode(message))
    for _ in range(data.draw(st.integers(1, 4))):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    decodes_or_refuses(bytes(encoded))


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(1 << 63), (1 << 64) - 1),
    st.floats(),
    st.binary(max_size=40),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=20)),
    st.builds(msgpack.Timestamp, st.integers(-(1 << 40), 1 << 40), st.integers(0, 999_999_999)),
    st.just(GUID),
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab"), inner, max_size=3)
)
names = sorted({*NUMBERS, *TEXTS, "Ok", "Resume", "Data", "Message", "Features", "Instance", "Secret"})
bodies = st.dictionaries(st.sampled_from(names), values, max_size=8)


@given(kind=st.sampled_from([1, 2, 3, 4, 5, 255]), body=bodies, sound=st.booleans(), new_types=st.booleans())
def test_any_value_under_any_key(kind: int, body: dict[str, Any], sound: bool, new_types: bool) -> None:
    if sound:
        body = {**body, "GUID": GUID}
    decodes_or_refuses(packed(kind, body, use_bin_type=new_types))


# Secrets do not show.

HIDDEN = b"hunter2-hunter2-"


@pytest.mark.parametrize(
    "message",
    [
        Handshake(name="agent", key=HIDDEN.decode(), features=frozenset({"resumable"}), instance=HIDDEN, epoch=1),
        Initiator(SESSION, "db", 22, "agent2", HIDDEN.decode(), Terms(1, 0, 0, secret=HIDDEN)),
        Terms(1, 0, 0, secret=HIDDEN),
        Data(SESSION, 1, HIDDEN),
        Stream(SESSION, False, 0, HIDDEN),
        Stream(SESSION, True, 0, memoryview(HIDDEN)),
    ],
    ids=lambda message: type(message).__name__,
)
def test_no_key_secret_instance_or_payload_in_a_repr(message: object) -> None:
    for shown in (repr(message), str(message), f"{message}"):
        assert "hunter2" not in shown
        assert HIDDEN.hex() not in shown


def test_every_field_that_may_hold_a_secret_is_hidden() -> None:
    hidden = {"key", "instance", "secret", "data", "payload"}
    for message in (*MESSAGES.values(), Terms):
        for one in fields(message):
            assert one.repr is (one.name not in hidden), f"{message.__name__}.{one.name}"


def test_no_error_repeats_what_was_sent() -> None:
    for key in ("Key", "Secret", "Instance"):
        kind = codec.INITIATOR if key == "Secret" else codec.HANDSHAKE
        with pytest.raises(ProtocolError) as caught:
            codec.decode(packed(kind, {**COMPLETE, key: HIDDEN * 1000}))
        assert "hunter2" not in str(caught.value)


def test_the_session_used_here_is_a_uuid() -> None:
    assert UUID(GUID).bytes == SESSION
