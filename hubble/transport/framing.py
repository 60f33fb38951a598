"""WebSocket framing (RFC 6455, section 5): plain binary messages in a few steps, all else by `websockets`.

Nearly every frame of a link is a whole binary message. Those are cut out and put together here; pings, closes,
fragments and everything malformed go through the sans-I/O protocol of `websockets`, one whole frame at a time. Letting
it do all of them costs a quarter of the latency and a fifth of the processor time (benchmarks/latency.py).
"""

from __future__ import annotations

import logging
import secrets
import struct
from typing import cast

from websockets.exceptions import ProtocolError
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import OPEN, Protocol, Side

try:
    from websockets.speedups import apply_mask
except ImportError:  # a platform without the compiled part
    from websockets.utils import apply_mask

from hubble.protocol.codec import MAX_MESSAGE

quiet = logging.getLogger("hubble.websockets")
quiet.setLevel(logging.CRITICAL)

MOST_CONTROLS = 1000
"""Control frames that may wait for a side that does not read."""
WHOLE_BINARY = 0x80 | Opcode.BINARY
MASKED = 0x80
_SHORT, _MEDIUM, _LONG = struct.Struct("!BB"), struct.Struct("!BBH"), struct.Struct("!BBQ")


class Framing:
    """One connection's frames, in and out. `masked`: whether the client masks whole messages.

    `failure` says how the other side broke the protocol, once it has.
    """

    def __init__(self, side: Side, masked: bool = True) -> None:
        self._protocol = Protocol(side, state=OPEN, max_size=MAX_MESSAGE, logger=quiet)
        self._mask_in = MASKED if side is Side.SERVER and masked else 0
        self._mask_out = MASKED if side is Side.CLIENT and masked else 0
        self._tail = bytearray()
        self._parts: list[bytes] = []
        self._controls: list[Frame] = []
        self._is_direct = True  # not within a fragmented message, and not after a close: a whole message may come
        self._refusal: ProtocolError | None = None

    # In.

    def receive(self, data: memoryview) -> list[bytes]:
        """The whole messages that are complete with `data`, which may be changed afterwards."""
        messages: list[bytes] = []
        position = self._complete_tail(data, messages) if self._tail else 0
        while position < len(data) and not self.failure:
            start, end = _bounds(data, position)
            if end > len(data):
                self._tail += data[position:]
                break
            self._frame(data, position, start, end, messages)
            position = end
        return messages

    def controls(self) -> list[Frame]:
        """The pings, pongs and closes received since the last call."""
        controls, self._controls = self._controls, []
        return controls

    @property
    def failure(self) -> Exception | None:
        """What the other side did against the protocol, or None."""
        return self._refusal or self._protocol.parser_exc

    @property
    def close_reason(self) -> str:
        """The reason the other side gave when it closed, or ""."""
        received = self._protocol.close_rcvd
        return received.reason if received else ""

    def _complete_tail(self, data: memoryview, messages: list[bytes]) -> int:
        """Add to an incomplete frame what it lacks; how much of `data` that took."""
        tail, taken = self._tail, 0
        while True:
            start, end = _bounds(tail, 0)
            lacking = min(end - len(tail), len(data) - taken)
            tail += data[taken : taken + lacking]
            taken += lacking
            if len(tail) < end:
                if taken == len(data):
                    return taken
            elif _bounds(tail, 0) == (start, end):
                self._tail = bytearray()
                self._frame(memoryview(tail), 0, start, end, messages)
                return taken

    def _frame(self, data: memoryview, position: int, start: int, end: int, messages: list[bytes]) -> None:
        """Deal with the frame from `position` to `end`, whose payload begins at `start`."""
        is_plain = data[position] == WHOLE_BINARY and data[position + 1] & MASKED == self._mask_in and start <= end
        if is_plain and self._is_direct:
            payload = data[start:end]
            messages.append(apply_mask(payload, bytes(data[start - 4 : start])) if self._mask_in else bytes(payload))
            return
        self._protocol.receive_data(bytes(data[position:end]))
        for frame in cast("list[Frame]", self._protocol.events_received()):  # once open, all events are frames
            if frame.opcode is Opcode.TEXT:
                self._refusal = ProtocolError("text messages have no meaning here")
                self._protocol.fail(CloseCode.UNSUPPORTED_DATA, str(self._refusal))
            elif frame.opcode in (Opcode.BINARY, Opcode.CONT):
                self._parts.append(bytes(frame.data))
                if frame.fin:
                    messages.append(b"".join(self._parts))
                    self._parts.clear()
            else:
                self._controls.append(frame)
        self._is_direct = self._protocol.current_size is None and self._protocol.close_rcvd is None

    # Out.

    @property
    def has_output(self) -> bool:
        """Whether control frames wait to be sent."""
        return bool(self._protocol.writes)

    @property
    def is_flooded(self) -> bool:
        """Whether more answers to pings wait to be sent than anyone needs who reads them."""
        return len(self._protocol.writes) > MOST_CONTROLS

    def encode(self, messages: list[bytes]) -> bytes:
        """The control frames that wait, and the messages, as bytes to send. After a close, no messages."""
        parts = self._protocol.data_to_send() if self._protocol.writes else []
        if self.is_open:
            for message in messages:
                length = len(message)
                if length < 126:
                    parts.append(_SHORT.pack(WHOLE_BINARY, self._mask_out | length))
                elif length < 65536:
                    parts.append(_MEDIUM.pack(WHOLE_BINARY, self._mask_out | 126, length))
                else:
                    parts.append(_LONG.pack(WHOLE_BINARY, self._mask_out | 127, length))
                if self._mask_out:
                    mask = secrets.token_bytes(4)
                    parts.append(mask)
                    message = apply_mask(message, mask)
                parts.append(message)
        return b"".join(parts)

    def ping(self, payload: bytes) -> None:
        """Add a ping to what waits to be sent; nothing after a close."""
        if self.is_open:
            self._protocol.send_ping(payload)

    def close(self, code: int, reason: str) -> None:
        """Add a close; nothing if one was sent already."""
        if self.is_open:
            self._protocol.send_close(code, reason.encode()[:120].decode("utf-8", "ignore"))

    @property
    def is_open(self) -> bool:
        """Whether messages may be sent still."""
        return self._protocol.state is OPEN


def _bounds(data: bytearray | memoryview, position: int) -> tuple[int, int]:
    """Where a frame's payload begins and ends; of a frame whose header is incomplete, the header's end as far as known.

    A frame that is too long ends with its header, before its payload begins: `websockets` then refuses it.
    """
    known = len(data) - position
    if known < 2:
        return position + 2, position + 2
    second = data[position + 1]
    length = second & 0x7F
    start = position + (2 if length < 126 else 4 if length == 126 else 10) + (4 if second & MASKED else 0)
    if length >= 126:
        if start > len(data):
            return start, start
        size = 2 if length == 126 else 8
        length = int.from_bytes(data[position + 2 : position + 2 + size], "big")
        if length > MAX_MESSAGE:
            return start + 1, start
    return start, start + length
