"""WebSocket frames as bytes, right and wrong ones (RFC 6455, section 5.2)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from websockets.frames import Opcode
from websockets.utils import apply_mask

CONT, TEXT, BINARY = int(Opcode.CONT), int(Opcode.TEXT), int(Opcode.BINARY)
CLOSE, PING, PONG = int(Opcode.CLOSE), int(Opcode.PING), int(Opcode.PONG)
MASK = b"\x5a\x00\xff\x13"


@dataclass(frozen=True)
class RawFrame:
    """One frame; `reserved` are its three reserved bits, `width` the least bytes its length is written in."""

    opcode: int
    payload: bytes = b""
    fin: bool = True
    masked: bool = True
    reserved: int = 0
    width: int = 0

    def __bytes__(self) -> bytes:
        first = self.fin << 7 | self.reserved << 4 | self.opcode
        length, mask_bit = len(self.payload), self.masked << 7
        if length > 65535 or self.width > 2:
            head = struct.pack("!BBQ", first, mask_bit | 127, length)
        elif length > 125 or self.width > 1:
            head = struct.pack("!BBH", first, mask_bit | 126, length)
        else:
            head = struct.pack("!BB", first, mask_bit | length)
        return head + (MASK + apply_mask(self.payload, MASK) if self.masked else self.payload)


def binary(payload: bytes, *, masked: bool) -> bytes:
    """A whole message in one frame."""
    return bytes(RawFrame(BINARY, payload, masked=masked))


def in_two(payload: bytes, *, masked: bool, first: int = 1024) -> bytes:
    """A message as the original's proxy sends those of more than 1,024 bytes: in two fragments."""
    return bytes(RawFrame(BINARY, payload[:first], fin=False, masked=masked)) + bytes(
        RawFrame(CONT, payload[first:], masked=masked)
    )


def close(code: int, reason: str = "", *, masked: bool) -> bytes:
    return bytes(RawFrame(CLOSE, struct.pack("!H", code) + reason.encode(), masked=masked))
