"""WebSocket framing (RFC 6455, section 5): plain binary messages in a few steps, everything else by `websockets`.

Nearly every frame of a link is a whole binary message. This module cuts and builds those itself. Pings, closes,
fragments and malformed frames go through the sans-I/O protocol of `websockets`, one whole frame at a time. Using it for
all frames would cost a quarter of the latency and a fifth of the processor time (benchmarks/latency.py).

That protocol takes about 16 us for a frame, however small. Control frames and small fragments therefore have a budget,
the first message of an unregistered peer has a limit, and frames are handled in steps between which the caller yields.
"""

from __future__ import annotations

import logging
import secrets
import struct
import time
from collections.abc import Callable, Iterator
from typing import cast

from websockets.exceptions import ProtocolError
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import OPEN, Protocol, Side

try:
    from websockets.speedups import apply_mask
except ImportError:  # a platform without the compiled part
    from websockets.utils import apply_mask

from hubble.protocol.codec import MAX_MESSAGE
from hubble.transport.budget import Budget

quiet = logging.getLogger("hubble.websockets")
quiet.setLevel(logging.CRITICAL)

MOST_CONTROLS = 1000
"""Control frames that may wait for a peer that does not read."""
MASKS_AT_A_TIME = 1024
FRAMES_AT_A_TIME = 64
"""Frames handled in one step: 0.1 ms of work, or 1 ms if none of them is a plain binary message."""
CONTROLS_PER_SECOND = 100.0
"""Control frames and empty fragments that a peer may send a second; also the burst."""
FRAGMENT_SIZE = 256
"""Payload bytes that pay for one fragment. The two fragments of a message from a 0.1 peer are therefore free."""
FIRST_FRAMES = 32
"""Frames that an unregistered peer may send before its first message: more than the pings of a new link."""
WHOLE_BINARY = 0x80 | Opcode.BINARY
MASKED = 0x80
FIN, OPCODE, CONTROL = 0x80, 0x0F, 0x08
_NOTHING = memoryview(b"")
_SHORT, _MEDIUM, _LONG = struct.Struct("!BB"), struct.Struct("!BBH"), struct.Struct("!BBQ")


def _draw_masks() -> Iterator[bytes]:
    """Yield unpredictable masking keys (RFC 6455, section 5.3), drawn many at a time: each draw is a system call."""
    while True:
        drawn = secrets.token_bytes(MASKS_AT_A_TIME * 4)
        for start in range(0, len(drawn), 4):
            yield drawn[start : start + 4]


_masks = _draw_masks()


class Framing:
    """The frames of one connection, in and out. `masked`: whether the client masks whole messages.

    `failure` says how the other side broke the protocol, once it has. `first_limit`: bytes that the other side, a
    stranger still, may send as its first message; None for as much as any message may have.
    """

    def __init__(
        self,
        side: Side,
        masked: bool = True,
        *,
        first_limit: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._longest = MAX_MESSAGE if first_limit is None else first_limit
        self._protocol = Protocol(side, state=OPEN, max_size=self._longest, logger=quiet)
        self._mask_in = MASKED if side is Side.SERVER and masked else 0
        self._mask_out = MASKED if side is Side.CLIENT and masked else 0
        self._at_a_time = FRAMES_AT_A_TIME if first_limit is None else 1
        self._is_watched = first_limit is not None
        self._strange_frames = 0
        self._budget = Budget(CONTROLS_PER_SECOND, CONTROLS_PER_SECOND, clock)
        self._tail = bytearray()
        self._rest = _NOTHING
        self._parts: list[bytes] = []
        self._controls: list[Frame] = []
        self._is_direct = True  # a whole message may come: no fragmented one is incomplete
        self._refusal: ProtocolError | None = None
        self.has_rest = False
        """Whether received frames are still to be handled: call `receive_rest`."""
        self.has_news = False
        """Whether controls, output or a failure may have come since the last call of `controls`."""
        self.is_over = False
        """Whether the peer has closed or broken the protocol. Later frames are discarded."""

    # In.

    def receive(self, data: memoryview) -> list[bytes]:
        """Return the next whole messages of `data`, which the caller may overwrite afterwards.

        While `has_rest` is true, call `receive_rest` instead.
        """
        messages: list[bytes] = []
        if self.is_over:
            return messages
        position = self._complete_tail(data, messages) if self._tail else 0
        if self.is_over:
            return messages
        rest = self._cut(data, position, messages)
        if rest:
            self._rest, self.has_rest = memoryview(bytes(rest)), True
        return messages

    def receive_rest(self) -> list[bytes]:
        """Return the next whole messages of the bytes received before."""
        messages: list[bytes] = []
        self._rest = self._cut(self._rest, 0, messages)
        self.has_rest = bool(self._rest)
        return messages

    def controls(self) -> list[Frame]:
        """Return the pings, pongs and closes received since the last call."""
        controls, self._controls, self.has_news = self._controls, [], False
        return controls

    @property
    def failure(self) -> Exception | None:
        """How the peer broke the protocol, or None."""
        return self._refusal or self._protocol.parser_exc

    @property
    def close_reason(self) -> str:
        """The reason that the peer gave when it closed, or ""."""
        received = self._protocol.close_rcvd
        return received.reason if received else ""

    def _cut(self, data: memoryview, position: int, messages: list[bytes]) -> memoryview:
        """Handle the next frames from `position` on; return the part of `data` for another step."""
        size, mask_in, longest = len(data), self._mask_in, self._longest
        for _ in range(self._at_a_time):
            if position == size:
                return _NOTHING
            start, end = _bounds(data, position, longest)
            if end > size:
                self._tail += data[position:]
                return _NOTHING
            is_plain = data[position] == WHOLE_BINARY and data[position + 1] & MASKED == mask_in and start <= end
            if is_plain and self._is_direct:
                payload = data[start:end]
                messages.append(apply_mask(payload, bytes(data[start - 4 : start])) if mask_in else bytes(payload))
            else:
                self._pass_frame(data[position:end], messages)
            position = end
            if self._is_watched and not self._may_go_on(messages):
                return _NOTHING
        return data[position:]

    def _may_go_on(self, messages: list[bytes]) -> bool:
        """Return whether to continue after a frame of an unregistered peer, or a frame that ended the connection."""
        if self.is_over:
            return False
        self._strange_frames += 1
        if messages:  # after its first whole message the peer counts as registered, or the owner closes the link
            self._is_watched = False
            self._longest = self._protocol.max_message_size = MAX_MESSAGE
            self._at_a_time = FRAMES_AT_A_TIME
        elif self._strange_frames >= FIRST_FRAMES:
            self._refuse(CloseCode.POLICY_VIOLATION, "too many frames before the first message")
        return not self.is_over

    def _complete_tail(self, data: memoryview, messages: list[bytes]) -> int:
        """Complete an incomplete frame from `data`, and handle it once it is whole; return how many bytes that took."""
        tail, taken = self._tail, 0
        while True:
            start, end = _bounds(tail, 0, self._longest)
            lacking = min(end - len(tail), len(data) - taken)
            tail += data[taken : taken + lacking]
            taken += lacking
            if len(tail) < end:
                if taken == len(data):
                    return taken
            elif _bounds(tail, 0, self._longest) == (start, end):
                self._tail = bytearray()
                self._cut(memoryview(tail), 0, messages)
                return taken

    def _pass_frame(self, data: memoryview, messages: list[bytes]) -> None:
        """Have `websockets` handle one frame, if the peer's budget allows it."""
        if not self._is_affordable(data):
            self._refuse(CloseCode.POLICY_VIOLATION, "too many control frames or small fragments")
            return
        self.has_news = True
        self._protocol.receive_data(bytes(data))
        for frame in cast("list[Frame]", self._protocol.events_received()):  # once open, all events are frames
            if frame.opcode is Opcode.TEXT:
                self._refuse(CloseCode.UNSUPPORTED_DATA, "text messages have no meaning here")
            elif frame.opcode in (Opcode.BINARY, Opcode.CONT):
                self._parts.append(bytes(frame.data))
                if frame.fin:
                    messages.append(b"".join(self._parts))
                    self._parts.clear()
            else:
                self._controls.append(frame)
        self._is_direct = self._protocol.current_size is None
        self.is_over = self.failure is not None or self._protocol.close_rcvd is not None
        self._is_watched = self._is_watched or self.is_over

    def _is_affordable(self, data: memoryview) -> bool:
        """Return whether the budget allows a frame. A fragment pays by its payload."""
        first = data[0]
        if first & CONTROL:
            return self._budget.allows(1.0)
        is_whole = first & FIN and first & OPCODE
        return bool(is_whole) or self._budget.allows(1.0 - len(data) / FRAGMENT_SIZE)

    def _refuse(self, code: CloseCode, why: str) -> None:
        self._refusal = ProtocolError(why)
        self._protocol.fail(code, why)
        self.is_over = self._is_watched = self.has_news = True

    # Out.

    @property
    def has_output(self) -> bool:
        """Whether control frames wait to be sent."""
        return bool(self._protocol.writes)

    @property
    def is_flooded(self) -> bool:
        """Whether the peer sends pings and does not read the answers."""
        return len(self._protocol.writes) > MOST_CONTROLS

    def encode(self, messages: list[bytes]) -> bytes:
        """Return the waiting control frames and the messages as bytes to send. After a close, messages are dropped."""
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
                    mask = next(_masks)
                    parts.append(mask)
                    message = apply_mask(message, mask)
                parts.append(message)
        return b"".join(parts)

    def ping(self, payload: bytes) -> None:
        """Queue a ping. After a close, do nothing."""
        if self.is_open:
            self._protocol.send_ping(payload)

    def close(self, code: int, reason: str) -> None:
        """Queue a close, unless one was sent already."""
        if self.is_open:
            self._protocol.send_close(code, reason.encode()[:120].decode("utf-8", "ignore"))

    @property
    def is_open(self) -> bool:
        """Whether messages can still be sent."""
        return self._protocol.state is OPEN


def _bounds(data: bytearray | memoryview, position: int, longest: int) -> tuple[int, int]:
    """Return where a frame's payload begins and ends. For an incomplete header, return the known part of its end twice.

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
        if length > longest:
            return start + 1, start
    return start, start + length
