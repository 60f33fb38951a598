from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import pairwise
from typing import cast
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.protocol import CLIENT, OPEN, SERVER, Protocol, Side

from hubble.protocol.codec import MAX_MESSAGE
from hubble.transport import framing
from hubble.transport.framing import Framing
from tests.support.frames import BINARY, CLOSE, CONT, PING, PONG, TEXT, RawFrame, binary, close, in_two

SIDES = pytest.mark.parametrize("side", [SERVER, CLIENT], ids=["server", "client"])
LIMIT = 300  # instead of MAX_MESSAGE, for inputs that hypothesis can vary quickly


def is_masked(side: Side) -> bool:
    """Whether frames that arrive at `side` are masked."""
    return side is SERVER


def other(side: Side) -> Side:
    return CLIENT if side is SERVER else SERVER


def receive(framing: Framing, data: bytes, cuts: list[int] | None = None) -> list[bytes]:
    """Feeds `data` in pieces, each through one buffer that is overwritten afterwards, as a link does."""
    messages: list[bytes] = []
    edges = [0, *sorted(cuts or []), len(data)]
    for start, end in pairwise(edges):
        buffer = bytearray(data[start:end])
        messages += framing.receive(memoryview(buffer))
        while framing.has_rest:
            messages += framing.receive_rest()
        buffer[:] = bytes(len(buffer))
    return messages


def sent(side: Side, data: bytes) -> list[Frame]:
    """The frames that `side` has sent, as the other side reads them."""
    reader = Protocol(other(side), state=OPEN, max_size=None)
    frames: list[Frame] = []
    if data:
        reader.receive_data(data)
        frames = cast("list[Frame]", reader.events_received())
    assert reader.parser_exc is None
    return frames


class Reference:
    """What the `websockets` library makes of whole frames, put together to messages as far as they are binary."""

    def __init__(self, side: Side, frames: list[RawFrame]) -> None:
        protocol = Protocol(side, state=OPEN, max_size=LIMIT, logger=framing.quiet)
        self.messages: list[bytes] = []
        self.controls: list[tuple[Opcode, bytes]] = []
        parts: list[bytes] = []
        self.text = False
        for frame in frames:
            if protocol.parser_exc is not None or self.text:
                break
            protocol.receive_data(bytes(frame))
            for event in cast("list[Frame]", protocol.events_received()):
                if event.opcode is Opcode.TEXT:
                    self.text = True  # where the library would go on, a link is over
                elif event.opcode in (Opcode.BINARY, Opcode.CONT):
                    parts.append(bytes(event.data))
                    if event.fin:
                        self.messages.append(b"".join(parts))
                        parts.clear()
                else:
                    self.controls.append((event.opcode, bytes(event.data)))
        self.failure = protocol.parser_exc
        self.failed = self.text or self.failure is not None
        self.close_reason = protocol.close_rcvd.reason if protocol.close_rcvd else ""
        self.output = sent(side, b"".join(protocol.data_to_send()))


def payloads(most: int = LIMIT + 20) -> st.SearchStrategy[bytes]:
    sizes = st.sampled_from([0, 1, 2, 125, 126, 127, LIMIT, LIMIT + 1]) | st.integers(0, most)
    return sizes.flatmap(lambda size: st.binary(min_size=min(size, most), max_size=min(size, most)))


def close_payloads() -> st.SearchStrategy[bytes]:
    code = st.sampled_from([999, 1000, 1001, 1004, 1005, 1006, 1011, 1015, 2999, 3000, 4999, 5000])
    reason = st.text(max_size=20).map(str.encode) | st.sampled_from([b"\xff", b"\xc3"])
    well_formed = st.builds(lambda code, reason: struct.pack("!H", code) + reason, code, reason)
    return st.just(b"") | st.binary(min_size=1, max_size=1) | well_formed


def frames(side: Side) -> st.SearchStrategy[list[RawFrame]]:
    """Mostly good frames, so that sequences get far; now and then a bad one."""
    good = is_masked(side)
    width = st.sampled_from([0, 0, 0, 2, 8])
    mostly = st.sampled_from([good] * 15 + [not good])
    whole = st.builds(RawFrame, st.just(BINARY), payloads(), masked=st.just(good), width=width)
    control = st.builds(RawFrame, st.sampled_from([PING, PONG]), st.binary(max_size=125), masked=st.just(good))
    fragment = st.builds(
        RawFrame, st.sampled_from([BINARY, CONT, CONT]), payloads(150), fin=st.booleans(), masked=st.just(good)
    )
    closing = st.builds(RawFrame, st.just(CLOSE), close_payloads(), masked=st.just(good))
    anything = st.builds(
        RawFrame,
        st.integers(0, 15),
        payloads(),
        fin=st.booleans(),
        masked=mostly,
        reserved=st.sampled_from([0, 0, 0, 1, 4]),
        width=width,
    )
    common = [whole, whole, control, fragment, fragment]
    return st.lists(st.one_of(*common, *common, closing, anything), max_size=12)


@pytest.fixture
def small_limit() -> Iterator[None]:
    with patch.object(framing, "MAX_MESSAGE", LIMIT):
        yield


@pytest.mark.timeout(300)  # for `make test-deep`
@SIDES
def test_agrees_with_websockets_on_every_input(side: Side, small_limit: None) -> None:
    @given(st.data())
    def check(data: st.DataObject) -> None:
        whole = data.draw(frames(side))
        last = data.draw(frames(side))[:1]
        stream = b"".join(map(bytes, whole + last))
        if last:  # is incomplete
            stream = stream[: -data.draw(st.integers(1, len(bytes(last[0]))))]
        cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=8))
        every_byte = data.draw(st.booleans())
        ours = Framing(side, first_limit=data.draw(st.sampled_from([None, LIMIT])))
        reference = Reference(side, whole)

        messages = receive(ours, stream, list(range(len(stream))) if every_byte else cuts)

        if ours.failure is not None and not reference.failed:
            reference = Reference(side, whole + last)  # a frame may be refused by its header alone
        assert messages == reference.messages
        assert [(frame.opcode, bytes(frame.data)) for frame in ours.controls()] == reference.controls
        assert ours.close_reason == reference.close_reason
        output = sent(side, ours.encode([]))
        if reference.text:
            assert str(ours.failure) == "text messages have no meaning here"
            assert output[-1].opcode is Opcode.CLOSE and output[-1].data[:2] == struct.pack("!H", 1003)
        else:
            assert (type(ours.failure), str(ours.failure)) == (type(reference.failure), str(reference.failure))
            assert output == reference.output

    check()


@SIDES
@given(data=st.data())
def test_messages_arrive_whole_wherever_they_are_cut(side: Side, data: st.DataObject) -> None:
    sizes = st.sampled_from([0, 1, 125, 126, 65535, 65536]) | st.integers(0, 3000)
    messages = [bytes([i]) * size for i, size in enumerate(data.draw(st.lists(sizes, max_size=6)))]
    stream = Framing(other(side)).encode(messages)
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=10))
    assert receive(Framing(side), stream, cuts) == messages


@given(garbage=st.binary(max_size=400), cuts=st.lists(st.integers(0, 400), max_size=5))
def test_garbage_is_refused_or_awaited(garbage: bytes, cuts: list[int]) -> None:
    ours = Framing(SERVER)
    receive(ours, garbage, [min(cut, len(garbage)) for cut in cuts])
    assert ours.failure is None or not ours.is_open


@SIDES
@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, MAX_MESSAGE])
def test_one_frame_is_encoded_as_websockets_reads_it(side: Side, size: int) -> None:
    message = bytes(range(256)) * (size // 256 + 1)
    (frame,) = sent(side, Framing(side).encode([message[:size]]))
    assert (frame.opcode, frame.fin, bytes(frame.data)) == (Opcode.BINARY, True, message[:size])


def test_a_client_masks_each_message_anew() -> None:
    ours = Framing(CLIENT)
    first, second = ours.encode([bytes(8)]), ours.encode([bytes(8)])
    assert first[1] & 0x80 and first[2:6] != second[2:6]


@SIDES
def test_the_longest_message_is_accepted_and_a_longer_one_refused(side: Side) -> None:
    longest = binary(bytes(MAX_MESSAGE), masked=is_masked(side))
    assert receive(Framing(side), longest) == [bytes(MAX_MESSAGE)]
    ours = Framing(side)
    assert receive(ours, binary(bytes(MAX_MESSAGE + 1), masked=is_masked(side))) == []
    assert closed_with(side, ours) == 1009


@SIDES
def test_a_length_of_2_to_the_63_is_refused_by_its_header(side: Side) -> None:
    ours = Framing(side)
    head = struct.pack("!BBQ", 0x82, 127 | is_masked(side) << 7, 1 << 63) + bytes(4 * is_masked(side))
    assert receive(ours, head) == []
    assert closed_with(side, ours) == 1009


@SIDES
def test_fragments_count_together(side: Side) -> None:
    ours = Framing(side)
    half = bytes(MAX_MESSAGE // 2 + 1)
    assert receive(ours, in_two(half + half, masked=is_masked(side), first=len(half))) == []
    assert closed_with(side, ours) == 1009


@SIDES
def test_the_wrong_masking_is_refused(side: Side) -> None:
    ours = Framing(side)
    assert receive(ours, binary(b"x", masked=not is_masked(side))) == []
    assert closed_with(side, ours) == 1002


@SIDES
def test_text_is_refused_and_nothing_behind_it_is_taken(side: Side) -> None:
    ours = Framing(side)
    text = bytes(RawFrame(TEXT, b"hello", fin=False, masked=is_masked(side)))
    rest = bytes(RawFrame(CONT, b" world", masked=is_masked(side))) + binary(b"x", masked=is_masked(side))
    assert receive(ours, text + rest) == []
    assert closed_with(side, ours) == 1003


@SIDES
def test_nothing_behind_a_close_is_taken(side: Side) -> None:
    ours = Framing(side)
    stream = close(1001, "bye", masked=is_masked(side)) + binary(b"too late", masked=is_masked(side))
    assert receive(ours, stream) == []
    assert receive(ours, binary(b"much too late", masked=is_masked(side))) == []
    assert ours.close_reason == "bye"
    assert ours.failure is None


@SIDES
def test_after_a_close_no_message_is_sent(side: Side) -> None:
    ours = Framing(side)
    ours.close(1000, "done")
    assert [frame.opcode for frame in sent(side, ours.encode([b"too late"]))] == [Opcode.CLOSE]
    ours.ping(b"12345678")
    ours.close(1000, "again")
    assert ours.encode([b"too late"]) == b""


def test_a_long_reason_is_cut_between_characters() -> None:
    ours = Framing(SERVER)
    ours.close(1000, "ü" * 100)
    (frame,) = sent(SERVER, ours.encode([]))
    assert bytes(frame.data[2:]).decode() == "ü" * 60


class TestUnmasked:
    """Between workers nothing is masked but control frames, which `websockets` makes."""

    def test_messages_both_ways(self) -> None:
        client, server = Framing(CLIENT, masked=False), Framing(SERVER, masked=False)
        assert binary(b"hello", masked=False) == client.encode([b"hello"])
        assert receive(server, client.encode([b"hello", bytes(70000)])) == [b"hello", bytes(70000)]
        assert receive(client, server.encode([b"hello", bytes(70000)])) == [b"hello", bytes(70000)]

    def test_control_frames_pass(self) -> None:
        client, server = Framing(CLIENT, masked=False), Framing(SERVER, masked=False)
        client.ping(b"12345678")
        client.close(1000, "bye")
        assert receive(server, client.encode([b"before"]) + b"") == []
        assert [frame.opcode for frame in server.controls()] == [Opcode.PING, Opcode.CLOSE]


def closed_with(side: Side, ours: Framing) -> int:
    """The code of the close that a failure has made us send."""
    assert ours.failure is not None
    assert not ours.is_open
    frame = sent(side, ours.encode([b"never sent"]))[-1]
    assert frame.opcode is Opcode.CLOSE
    return int.from_bytes(frame.data[:2], "big")
