"""Agents that have registered, and ask for or send more than they may."""

from __future__ import annotations

import select
import time
import uuid
from collections.abc import Iterator

from websockets.frames import Opcode

from hubble.protocol.codec import decode, encode
from hubble.protocol.messages import Ack, Initiator, Message, Stream, Terms
from tests.hostile.drivers.raw import PATIENCE, RawLink, again_and_again
from tests.support.frames import binary

SECRET = bytes(16)
BATCH = 50


def _initiator(gateway: str, key: str = "") -> Initiator:
    return Initiator(uuid.uuid4().bytes, "127.0.0.1", 9, gateway, key, Terms(1, 0, 1 << 18, SECRET))


def _frames(*messages: Message) -> bytes:
    return b"".join(binary(encode(message), masked=True) for message in messages)


def _send_until(link: RawLink, data: bytes, until: float) -> None:
    """Send bytes for as long as they are taken. Raises OSError once the proxy has closed the link."""
    link.sock.setblocking(False)
    rest = memoryview(data)
    while rest and (left := until - time.monotonic()) > 0:
        if select.select([], [link.sock], [], left)[1]:
            rest = rest[link.sock.send(rest) :]


def _messages(link: RawLink) -> Iterator[Message]:
    """Each message, also of those that arrive together."""
    return (decode(bytes(frame.data)) for frame in link.frames() if frame.opcode is Opcode.BINARY)


def initiators(*, port: int, seconds: float, gateway: str) -> dict[str, int]:
    """Ask for sessions of a gateway as fast as possible, and read no answer."""

    def attack(link: RawLink, until: float) -> None:
        link.register(f"hostile {uuid.uuid4().hex}")
        while time.monotonic() < until:
            _send_until(link, _frames(*(_initiator(gateway) for _ in range(BATCH))), until)

    return again_and_again(port, seconds, attack)


def unanswered(*, port: int, seconds: float, size: int) -> dict[str, int]:
    """Ask for sessions of an own gateway with long keys, and answer none."""
    exit_link = RawLink(port)
    exit_link.register("hostile exit")

    def attack(link: RawLink, until: float) -> None:
        link.register(f"hostile {uuid.uuid4().hex}")
        while time.monotonic() < until:
            _send_until(link, _frames(*(_initiator("hostile exit", "k" * size) for _ in range(BATCH))), until)

    return again_and_again(port, seconds, attack)


def beyond_the_credit(*, port: int, seconds: float) -> dict[str, int]:
    """Send a stream towards an own exit that does not read, whatever it has granted; again when it is reset."""
    exit_link = RawLink(port)
    exit_link.register("hostile exit")
    exit_says = _messages(exit_link)

    def attack(link: RawLink, until: float) -> None:
        link.register(f"hostile {uuid.uuid4().hex}")
        says = _messages(link)
        while time.monotonic() < until:
            time.sleep(0.02)  # sessions asked for beyond the rate would be refused
            link.sock.settimeout(PATIENCE)
            link.say(_initiator("hostile exit"))
            asked = next(each for each in exit_says if isinstance(each, Initiator))
            assert asked.terms is not None
            exit_link.say(Ack(asked.session, True, terms=Terms(asked.terms.attempt, 0, 1 << 18), path=asked.path))
            next(each for each in says if isinstance(each, Ack))
            block = bytes(1 << 16)
            for number in range(200):
                _send_until(link, _frames(Stream(asked.session, False, number << 16, block)), until)

    return again_and_again(port, seconds, attack)


def unknown_sessions(*, port: int, seconds: float) -> dict[str, int]:
    """Send bytes of sessions that are not open, and read none of the SUSPENDs that answer them."""

    def attack(link: RawLink, until: float) -> None:
        link.register(f"hostile {uuid.uuid4().hex}")
        while time.monotonic() < until:
            _send_until(link, _frames(*(Stream(uuid.uuid4().bytes, False, 0, b"x") for _ in range(BATCH))), until)

    return again_and_again(port, seconds, attack)
