"""One direction of a resumable session: the bytes that its sender keeps, and the bytes that its receiver expects.

Offsets count the direction's bytes from 0. The end of the stream occupies the offset after the last byte, so that it
is acknowledged and retransmitted like a byte.
"""

from __future__ import annotations

from collections import deque

from hubble.base.errors import ProtocolError
from hubble.protocol.credit import INITIAL_WINDOW, SMALLEST_WINDOW, Budget, Window

Chunk = bytes | bytearray | memoryview

SMALL = 1024
"""A kept chunk with fewer bytes is joined with its neighbors, because each object takes about 200 bytes of memory."""
MANY = 64
"""Chunks that are kept without joining."""
JOINED = 16 * 1024
"""The approximate largest size of a joined chunk, in bytes."""
SHARE_KEPT = 4
"""One session may keep 1/SHARE_KEPT of the common budget, however much credit the other side grants it."""


class _Joined(bytearray):
    """Joined small chunks. Only the queue that holds the object refers to it, so it may grow."""


def _append(chunks: deque[Chunk], chunk: Chunk) -> None:
    """Append a chunk, or join it with the last chunk if both are small."""
    if len(chunk) >= SMALL or len(chunks) < MANY:
        chunks.append(chunk)
        return
    last = chunks[-1]
    if type(last) is _Joined and len(last) < JOINED:
        last += chunk
    else:
        chunks.append(_Joined(chunk))


class OutOfStep(ProtocolError):
    """Earlier bytes are missing: the path has lost messages, and the session must be resumed."""


class Outgoing:
    """Bytes to send, each kept until the other side has consumed it. All senders share `budget` for kept bytes."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._most_kept = max(budget.total // SHARE_KEPT, INITIAL_WINDOW)
        self.acknowledged = 0
        """The other side has consumed everything before this offset."""
        self.sent = 0
        """The offset of the next byte to send."""
        self.end = 0
        """The offset after the last byte written."""
        self.limit = 0
        """The other side's credit allows bytes before this offset."""
        self.finished = False
        self._sent_chunks: deque[tuple[int, Chunk]] = deque()
        self._unsent: deque[Chunk] = deque()

    @property
    def room(self) -> int:
        """The number of bytes that may be written now."""
        if self.finished:
            return 0
        allowed = min(self.limit - self.end, self._most_kept - self.kept)
        if self._budget.exhausted:
            allowed = min(allowed, SMALLEST_WINDOW - self.kept)
        return max(0, allowed)

    @property
    def kept(self) -> int:
        """The number of kept bytes."""
        return self.end - min(self.acknowledged, self.end)

    @property
    def unsent(self) -> bool:
        """Whether bytes or the end of the stream are still to be sent."""
        return self.sent < self.end + self.finished

    @property
    def complete(self) -> bool:
        """Whether the other side has consumed the whole stream, including its end."""
        return self.finished and self.acknowledged == self.end + 1

    def write(self, data: bytes) -> None:
        """Add at most `room` bytes. An earlier value of `room` is valid too: other sessions may use the budget."""
        assert not self.finished and 0 < len(data) <= self.limit - self.end
        self._budget.charge(len(data))
        self._unsent.append(data)
        self.end += len(data)

    def finish(self) -> None:
        """End the stream: no more bytes will be written."""
        self.finished = True

    def next_part(self, most: int) -> tuple[int, Chunk] | None:
        """Return the offset of the next bytes to send and at most `most` of them, or None if no bytes are unsent."""
        if not self._unsent:
            return None
        chunk = self._unsent.popleft()
        if len(chunk) > most:
            whole = memoryview(chunk)
            chunk = whole[:most]
            self._unsent.appendleft(whole[most:])
        offset = self.sent
        self.sent += len(chunk)
        self._keep(offset, chunk)
        return offset, chunk

    def _keep(self, offset: int, chunk: Chunk) -> None:
        """Keep a chunk that is being sent, joined with the chunk before it if both are small."""
        kept = self._sent_chunks
        if len(chunk) < SMALL and len(kept) >= MANY:
            last = kept[-1][1]
            if type(last) is _Joined and len(last) < JOINED:
                last += chunk
                return
            chunk = _Joined(chunk)
        kept.append((offset, chunk))

    def next_end(self) -> int | None:
        """Return the offset of the end of the stream if the end is next to be sent, or None."""
        if self.finished and self.sent == self.end:
            self.sent += 1
            return self.end
        return None

    def acknowledge(self, received: int, limit: int) -> None:
        """Record that the other side has consumed all bytes before `received` and allows bytes before `limit`.

        Raises ProtocolError if `received` is beyond the bytes that were sent.
        """
        if received > self.sent:
            raise ProtocolError(f"offset {received} acknowledged, but only {self.sent} was sent")
        self.limit = max(self.limit, limit)
        kept = self.kept
        self.acknowledged = max(self.acknowledged, received)
        self._budget.give(kept - self.kept)
        while self._sent_chunks and _end_of(self._sent_chunks[0]) <= self.acknowledged:
            self._sent_chunks.popleft()

    def rewind(self, received: int) -> None:
        """Retransmit from the offset `received`. Raises ProtocolError if `can_rewind` returns False."""
        if not self.can_rewind(received):
            raise ProtocolError(f"cannot resume from offset {received}; {self.acknowledged} to {self.sent} are kept")
        while self._sent_chunks and _end_of(self._sent_chunks[-1]) > received:
            offset, chunk = self._sent_chunks.pop()
            if type(chunk) is _Joined:
                chunk = bytes(chunk)
            if offset < received:
                whole = memoryview(chunk)
                self._sent_chunks.append((offset, whole[: received - offset]))
                chunk = whole[received - offset :]
            self._unsent.appendleft(chunk)
        self.sent = received

    def can_rewind(self, received: int) -> bool:
        """Return whether the other side can have reached the offset `received`, and all bytes from there are kept."""
        return self.acknowledged <= received <= self.sent

    def discard(self) -> None:
        """Drop all kept bytes."""
        self._budget.give(self.kept)
        self.acknowledged = self.end
        self._sent_chunks.clear()
        self._unsent.clear()


def _end_of(placed: tuple[int, Chunk]) -> int:
    """Return the offset after a chunk."""
    return placed[0] + len(placed[1])


class Incoming:
    """Bytes received in order, and the count of consumed ones."""

    def __init__(self, window: Window) -> None:
        self._window = window
        self.expected = 0
        """The offset of the next byte, or of the end of the stream, to arrive."""
        self.consumed = 0
        """Everything before this offset is consumed, including the end of the stream."""
        self.end: int | None = None
        """The offset at which the stream ends, once known."""
        self._reported = 0
        self._chunks: deque[Chunk] = deque()

    @property
    def limit(self) -> int:
        """The offset before which bytes are allowed."""
        return self._window.limit

    @property
    def waiting(self) -> int:
        """The number of bytes waiting to be consumed."""
        return max(0, (self.expected if self.end is None else self.end) - self.consumed)

    @property
    def ended(self) -> bool:
        """Whether all bytes have been taken and the end of the stream is next."""
        return not self._chunks and self.end is not None and self.expected == self.end + 1

    @property
    def complete(self) -> bool:
        """Whether the whole stream has been consumed, including its end."""
        return self.end is not None and self.consumed == self.end + 1

    def receive(self, offset: int, payload: Chunk, now: float) -> None:
        """Store bytes that arrived, and drop duplicates.

        Raises OutOfStep if earlier bytes are missing, ProtocolError if the bytes exceed the credit or follow the end
        of the stream.
        """
        end = offset + len(payload)
        if offset > self.expected:
            raise OutOfStep(f"bytes arrived for offset {offset}; expected {self.expected}")
        if end > self._window.limit:
            raise ProtocolError(f"bytes arrived up to offset {end}; the credit allows {self._window.limit}")
        if self.end is not None and end > self.end:
            raise ProtocolError(f"bytes arrived up to offset {end}, after the end of the stream at {self.end}")
        if end <= self.expected:
            return
        _append(self._chunks, payload[self.expected - offset :] if offset < self.expected else payload)
        self.expected = end
        self._window.arrived(end, now)

    def receive_end(self, offset: int) -> None:
        """Record that the stream ends at `offset`. Raises OutOfStep or ProtocolError as `receive` does."""
        if offset > self.expected:
            raise OutOfStep(f"the stream ended at offset {offset}; expected bytes from {self.expected}")
        if offset != self.end and (offset < self.expected or self.end is not None):
            raise ProtocolError(f"the stream ended at offset {offset}, which contradicts earlier messages")
        self.end = offset
        self.expected = offset + 1

    def take(self, most: int) -> Chunk | None:
        """Return the next bytes to consume, about `most` at most but at least one chunk, or None if no bytes wait."""
        if not self._chunks:
            return None
        chunk = self._chunks.popleft()
        if not self._chunks or len(chunk) + len(self._chunks[0]) > most:
            return chunk
        parts, size = [chunk], len(chunk)
        while self._chunks and size + len(self._chunks[0]) <= most:
            parts.append(self._chunks.popleft())
            size += len(parts[-1])
        return b"".join(parts)

    def consume(self, amount: int) -> None:
        """Count `amount` bytes as consumed. The end of the stream counts as 1."""
        self.consumed += amount

    @property
    def unreported(self) -> int:
        """The number of consumed bytes that the sender does not know of."""
        return self.consumed - self._reported

    def credit(self, now: float, late: bool = False) -> tuple[int, int] | None:
        """Return the consumed offset and the limit to report to the sender, or None if a report is not due.

        With `late`, report even a few bytes.
        """
        if not self.unreported or not (late or self.complete or self.unreported >= self._worth_reporting()):
            return None
        self._reported = self.consumed
        return self.consumed, self._window.grant(self.consumed, now)

    def _worth_reporting(self) -> int:
        """Return half the window, or a quarter if no bytes wait here: the sender may have run out of credit."""
        half = self._window.size // 2
        return half if self._chunks else half // 2 + 1

    def discard(self) -> None:
        """Drop all waiting bytes."""
        self._chunks.clear()
        self._window.close()
