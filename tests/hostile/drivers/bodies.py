"""Messages whose bodies cost far more to decode than their bytes, and texts that no program expects."""

from __future__ import annotations

import time
import uuid
from contextlib import suppress

import msgpack

from hubble.protocol.codec import HANDSHAKE, INITIATOR
from hubble.protocol.messages import Ack, Initiator, Refusal, Terms
from tests.hostile.drivers.raw import RawLink, again_and_again

MIB = 1 << 20


def _array(unit: bytes, count: int) -> bytes:
    return b"\xdd" + count.to_bytes(4, "big") + unit * count


BODIES = {
    "empty maps": b"\x81\xa1x" + _array(b"\x80", MIB - 64),
    "empty arrays": b"\x81\xa1x" + _array(b"\x90", MIB - 64),
    "small arrays": b"\x81\xa1x" + (b"\xdc\x00\x10" + b"\x90" * 16) * 55_000,
    "depth": b"\x81\xa1x" + b"\x91" * (MIB - 64),
    "features": msgpack.packb({"Name": "many", "Version": "0.1", "Features": [f"f{n}" for n in range(120_000)]}),
    "a long name": msgpack.packb({"Name": "x" * (MIB - 64), "Version": "0.1"}),
}
SMALL = {
    "empty arrays": b"\x81\xa1x" + _array(b"\x90", 1000),
    "small arrays": b"\x81\xa1x" + (b"\xdc\x00\x10" + b"\x90" * 16) * 1600,
    "control characters": msgpack.packb({"Name": "a\n\x1b[2J", "Version": "0.1"}),
    "a name of 4,096 characters": msgpack.packb({"Name": "x" * 4096, "Version": "0.1"}),
}


def handshakes(*, port: int, seconds: float, large: bool) -> dict[str, int]:
    """Strangers begin with an expensive Handshake each, and come again."""
    bodies = list((BODIES if large else SMALL).values())
    sent = 0

    def attack(link: RawLink, until: float) -> None:
        nonlocal sent
        link.say(bytes([HANDSHAKE]) + bodies[sent % len(bodies)])
        sent += 1
        with suppress(OSError):
            for _ in link.frames():
                pass

    return {**again_and_again(port, seconds, attack), "sent": sent}


def initiators(*, port: int, seconds: float) -> dict[str, int]:
    """An agent asks for sessions with control characters in their keys, as fast as it can."""
    counts = {"refused": 0, "links": 0}
    body = {"RemoteHost": "h", "RemotePort": 1, "Gatename": "exit", "Key": "k\n" * 1000}

    def attack(link: RawLink, until: float) -> None:
        if not link.register(f"hostile-{uuid.uuid4()}").ok:
            time.sleep(0.1)
            return
        counts["links"] += 1
        while time.monotonic() < until:
            link.say(bytes([INITIATOR]) + msgpack.packb({**body, "GUID": str(uuid.uuid4())}, use_bin_type=False))
            answer = link.hear()
            counts["refused"] += isinstance(answer, Ack) and answer.code is Refusal.BAD_REQUEST

    again_and_again(port, seconds, attack)
    return counts


def hosts(*, port: int, seconds: float, gateway: str) -> dict[str, int]:
    """An agent asks an exit for hosts whose names are none."""
    counts = {"refused": 0, "asked": 0}
    names = ["x" * 4096, "a." * 2000, ".", "..", "ü" * 2000, "a b", "a\u202eb", "[::1]", "a%00", "-" * 64]

    def attack(link: RawLink, until: float) -> None:
        assert link.register(f"hostile-{uuid.uuid4()}").ok
        while time.monotonic() < until:
            name = names[counts["asked"] % len(names)]
            counts["asked"] += 1
            link.say(Initiator(uuid.uuid4().bytes, name, 80, gateway, terms=Terms(1, 0, 1 << 18, secret=bytes(16))))
            answer = link.hear()
            counts["refused"] += isinstance(answer, Ack) and answer.code is Refusal.DIAL_FAILED
            time.sleep(0.02)  # below the rate of new sessions: this is about the exit

    again_and_again(port, seconds, attack)
    return counts
