"""The cases of the Autobahn test suite (crossbario/autobahn-testsuite) that concern binary messages, by their numbers.

A link has no text messages: where a case sends one, a binary one stands here; UTF-8 (6), performance beyond the longest
message (9) and compression (12, 13) are left out. Where the suite looks at echoes, the messages that the link's owner
gets are looked at: a breach behind a message, in the same read, ends the link before an echo can be sent.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace

import gevent
import pytest
from websockets.frames import Opcode
from websockets.protocol import CLIENT, SERVER, Side

from hubble.transport.link import Link
from tests.support.frames import BINARY, CLOSE, CONT, PING, PONG, TEXT, RawFrame
from tests.support.links import Owner, Peer
from tests.support.pairs import Pair


@dataclass(frozen=True)
class Case:
    """What the peer sends, in pieces of `chop` bytes (0: at once); what the owner gets, and what the peer.

    A Close with 1000 at the end has each case that is to end well end so.
    """

    number: str
    sent: tuple[RawFrame, ...]
    messages: tuple[bytes, ...] = ()
    pongs: tuple[bytes, ...] = ()
    code: int = 1000
    chop: int = 0

    def __str__(self) -> str:
        return self.number


def whole(payload: bytes = b"", **how: int) -> RawFrame:
    return RawFrame(BINARY, payload, **how)  # type: ignore[arg-type]


def first(payload: bytes = b"") -> RawFrame:
    return RawFrame(BINARY, payload, fin=False)


def more(payload: bytes = b"") -> RawFrame:
    return RawFrame(CONT, payload, fin=False)


def last(payload: bytes = b"") -> RawFrame:
    return RawFrame(CONT, payload)


def ping(payload: bytes = b"", **how: int) -> RawFrame:
    return RawFrame(PING, payload, **how)  # type: ignore[arg-type]


def closing(payload: bytes) -> RawFrame:
    return RawFrame(CLOSE, payload)


def code_only(code: int) -> RawFrame:
    return closing(struct.pack("!H", code))


A, B = b"fragment1", b"fragment2"
MIB = 1 << 20
BYTES = bytes(range(250)) * 300
VALID_CODES = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999)
INVALID_CODES = (0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999)

FRAMING = [
    *(
        Case(f"1.2.{number} of {size} bytes", (whole(BYTES[:size]),), (BYTES[:size],))
        for number, size in enumerate((0, 125, 126, 127, 128, 65535, 65536), 1)
    ),
    Case("1.2.8", (whole(BYTES[:65536]),), (BYTES[:65536],), chop=997),
]
PINGS = [
    Case("2.1", (ping(),), pongs=(b"",)),
    Case("2.2", (ping(b"Hello, world!"),), pongs=(b"Hello, world!",)),
    Case("2.3", (ping(b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff"),), pongs=(b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff",)),
    Case("2.4", (ping(b"\xfe" * 125),), pongs=(b"\xfe" * 125,)),
    Case("2.5", (ping(b"\xfe" * 126),), code=1002),
    Case("2.6", (ping(b"\xfe" * 125),), pongs=(b"\xfe" * 125,), chop=1),
    Case("2.7", (RawFrame(PONG),)),
    Case("2.8", (RawFrame(PONG, b"unsolicited"),)),
    Case("2.9", (RawFrame(PONG, b"unsolicited"), ping(b"ping")), pongs=(b"ping",)),
    Case("2.10", tuple(ping(b"%d" % n) for n in range(10)), pongs=tuple(b"%d" % n for n in range(10))),
    Case("2.11", tuple(ping(b"%d" % n) for n in range(10)), pongs=tuple(b"%d" % n for n in range(10)), chop=1),
]
RESERVED_BITS = [
    Case("3.1", (whole(b"x", reserved=1),), code=1002),
    Case("3.2", (whole(b"x"), whole(b"x", reserved=2), ping()), (b"x",), code=1002),
    Case("3.3", (whole(b"x"), whole(b"x", reserved=3), ping()), (b"x",), code=1002),
    Case("3.4", (whole(b"x"), whole(b"x", reserved=4), ping()), (b"x",), code=1002, chop=1),
    Case("3.5", (whole(b"\x00\xff", reserved=5),), code=1002),
    Case("3.6", (ping(b"x", reserved=6),), code=1002),
    Case("3.7", (RawFrame(CLOSE, b"", reserved=7),), code=1002),
]
OPCODES = [
    *(Case(f"4.1.{n}", (RawFrame(2 + n, b"x" * (n == 2)),), code=1002) for n in (1, 2)),
    *(Case(f"4.1.{n}", (whole(b"x"), RawFrame(2 + n, b"x"), ping()), (b"x",), code=1002) for n in (3, 4, 5)),
    *(Case(f"4.2.{n}", (RawFrame(10 + n, b"x" * (n == 2)),), code=1002) for n in (1, 2)),
    *(Case(f"4.2.{n}", (whole(b"x"), RawFrame(10 + n, b"x"), ping()), (b"x",), code=1002) for n in (3, 4, 5)),
]
FRAGMENTS = [
    Case("5.1", (RawFrame(PING, A, fin=False), last(B)), code=1002),
    Case("5.2", (RawFrame(PONG, A, fin=False), last(B)), code=1002),
    *(Case(f"5.{3 + n}", (first(A), last(B)), (A + B,), chop=chop) for n, chop in enumerate((0, 15, 1))),
    *(
        Case(f"5.{6 + n}", (first(A), ping(b"ping"), last(B)), (A + B,), (b"ping",), chop=chop)
        for n, chop in enumerate((0, 15, 1))
    ),
    *(Case(f"5.{9 + n}", (last(b"x"), whole(b"x")), code=1002, chop=chop) for n, chop in enumerate((0, 15, 1))),
    *(Case(f"5.{12 + n}", (more(b"x"), whole(b"x")), code=1002, chop=chop) for n, chop in enumerate((0, 15, 1))),
    Case("5.15", (first(A), last(B), more(b"fragment3"), whole(b"fragment4")), (A + B,), code=1002),
    *(Case(f"5.{16 + n}", (more(A), first(A), last(B)) * 2, code=1002, chop=n) for n in (0, 1)),
    *(
        Case(
            f"5.{19 + n}",
            (first(b"1"), more(b"2"), ping(b"one"), more(b"3"), more(b"4"), ping(b"two"), last(b"5")),
            (b"12345",),
            (b"one", b"two"),
            chop=n,
        )
        for n in (0, 1)
    ),
]
CLOSING = [
    Case("7.1.1", (whole(b"Hello World!"), code_only(1000)), (b"Hello World!",)),
    Case("7.1.2", (code_only(1000), code_only(1000))),
    Case("7.1.3", (code_only(1000), ping())),
    Case("7.1.4", (code_only(1000), whole(b"Hello World!"))),
    # The suite wants 1000; `websockets` takes a Close within a message for a breach.
    Case("7.1.5", (first(A), code_only(1000), last(B)), code=1002),
    Case("7.1.6", (whole(BYTES), whole(b"Hello World!"), code_only(1000), ping()), (BYTES, b"Hello World!")),
    Case("7.3.1", (closing(b""),), code=1005),
    Case("7.3.2", (closing(b"a"),), code=1002),
    Case("7.3.3", (code_only(1000),)),
    Case("7.3.4", (closing(struct.pack("!H", 1000) + b"Hello World!"),)),
    Case("7.3.5", (closing(struct.pack("!H", 1000) + b"*" * 123),)),
    Case("7.3.6", (closing(struct.pack("!H", 1000) + b"*" * 124),), code=1002),
    Case("7.5.1", (closing(struct.pack("!H", 1000) + b"\xce\xba\xed\xa0\x80edited"),), code=1007),
    *(Case(f"7.7.{n} code {code}", (code_only(code),), code=code) for n, code in enumerate(VALID_CODES, 1)),
    *(Case(f"7.9.{n} code {code}", (code_only(code),), code=1002) for n, code in enumerate(INVALID_CODES, 1)),
    Case("7.13.1", (code_only(5000),), code=1002),
    Case("7.13.2", (code_only(65535),), code=1002),
]
LIMITS = [
    *(
        Case(f"9.2.{n} of {size} bytes", (whole(bytes(size)),), (bytes(size),))
        for n, size in ((1, 65536), (2, MIB // 4), (3, MIB))
    ),
    *(
        Case(
            f"9.4.{n} in pieces of {size} bytes",
            (first(), *[more(bytes(size))] * (MIB // 4 // size), last()),
            (bytes(MIB // 4),),
        )
        for n, size in ((3, 1024), (4, 4096), (5, 16384), (6, 65536))
    ),
    *(
        Case(f"9.6.{n} chopped to {chop}", (whole(bytes(MIB // 4)),), (bytes(MIB // 4),), chop=chop)
        for n, chop in ((3, 256), (4, 512), (5, 1024), (6, 2048))
    ),
    Case("10.1.1", (first(b"*" * 1300), *[more(b"*" * 1300)] * 49, last(b"*" * 536)), (b"*" * 65536,)),
]
CASES = [*FRAMING, *PINGS, *RESERVED_BITS, *OPCODES, *FRAGMENTS, *CLOSING, *LIMITS]


@pytest.fixture(params=[SERVER, CLIENT], ids=["server", "client"])
def ends(request: pytest.FixtureRequest, memory_pair: Pair) -> Iterator[tuple[Owner, Peer]]:
    """A link of this side, which is read, and its peer."""
    side: Side = request.param
    owner = Owner(Link(memory_pair.server, side))
    yield owner, Peer(memory_pair.client, CLIENT if side is SERVER else SERVER)
    owner.link.abort("the case is over")
    owner.wait_end()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(ends: tuple[Owner, Peer], case: Case) -> None:
    owner, peer = ends
    sent = b"".join(bytes(replace(frame, masked=peer.masked)) for frame in (*case.sent, code_only(1000)))
    sending = gevent.spawn(send, peer, sent, case.chop)
    pongs: list[bytes] = []
    while (frame := peer.next()) is not None and frame.opcode is Opcode.PONG:
        pongs.append(bytes(frame.data))
    assert frame is not None and frame.opcode is Opcode.CLOSE
    code = int.from_bytes(frame.data[:2], "big") if frame.data else 1005
    assert (owner.received, pongs, code) == (list(case.messages), list(case.pongs), case.code)
    sending.kill()


def send(peer: Peer, data: bytes, chop: int) -> None:
    """Send at once, or in pieces."""
    for at in range(0, len(data), chop or len(data)):
        peer.send(data[at : at + (chop or len(data))])
        if chop:
            gevent.sleep(0)


def test_texts_are_refused(ends: tuple[Owner, Peer]) -> None:
    """1.1.1 and its like: the suite wants an echo, a link has no text messages."""
    _, peer = ends
    peer.send(bytes(RawFrame(TEXT, b"Hello", masked=peer.masked)))
    assert peer.close_received()[0] == 1003
