"""One direction of a resumable session: the bytes its sender keeps, and the bytes its receiver awaits.

Offsets count the direction's bytes from 0. The end of the stream occupies one offset after the last byte, so that it
is acknowledged, and sent again, like a byte.
"""

from __future__ import annotations

from collections import deque

from hubble.base.errors import ProtocolError
from hubble.protocol.credit import INITIAL_WINDOW, SMALLEST_WINDOW, Budget, Window

Chunk = bytes | bytearray | memoryview

SMALL = 1024
"""Bytes below which a chunk is joined with its neighbours while it is kept: an object of its own takes some 200."""
MANY = 64
"""Chunks that are kept as they are: fewer need no joining."""
JOINED = 16 * 1024
"""Bytes that joined chunks have at most, about."""
SHARE_KEPT = 4
"""One session may keep this fraction of the budget for all, however much credit the other side gives it."""


class _Joined(bytearray):
    """Small chunks that were joined. While it is in a queue, nobody else has it, and it may grow."""


def _append(chunks: deque[Chunk], chunk: Chunk) -> None:
    """Append a chunk, joined with the one before if both are small."""
    if len(chunk) >= SMALL or len(chunks) < MANY:
        chunks.append(chunk)
        return
    last = chunks[-1]
    if type(last) is _Joined and len(last) < JOINED:
        last += chunk
    else:
        chunks.append(_Joined(chunk))


class OutOfStep(ProtocolError):
    """Bytes before these are missing: the path has lost messages, and the session must be resumed."""


class Outgoing:
    """Bytes to send, each kept until the other side has consumed it; `budget` is what all senders may keep."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._most_kept = max(budget.total // SHARE_KEPT, INITIAL_WINDOW)
        self.acknowledged = 0
        """Everything before this offset was consumed by the other side."""
        self.sent = 0
        """The offset to be sent next."""
        self.end = 0
        """The offset after the last byte written."""
        self.limit = 0
        """Bytes before this offset are allowed by the other side's credit."""
        self.finished = False
        self._sent_chunks: deque[tuple[int, Chunk]] = deque()
        self._unsent: deque[Chunk] = deque()

    @property
    def room(self) -> int:
        """How many bytes may be written now."""
        if self.finished:
            return 0
        allowed = min(self.limit - self.end, self._most_kept - self.kept)
        if self._budget.exhausted:
            allowed = min(allowed, SMALLEST_WINDOW - self.kept)
        return max(0, allowed)

    @property
    def kept(self) -> int:
        """How many bytes are kept."""
        return self.end - min(self.acknowledged, self.end)

    @property
    def unsent(self) -> bool:
        """Whether something is to be sent: bytes, or the end of the stream."""
        return self.sent < self.end + self.finished

    @property
    def complete(self) -> bool:
        """Whether the other side has consumed all, the end of the stream included."""
        return self.finished and self.acknowledged == self.end + 1

    def write(self, data: bytes) -> None:
        """Add bytes, at most as many as `room` was at some time: other sessions may have used the budget since."""
        assert not self.finished and 0 < len(data) <= self.limit - self.end
        self._budget.charge(len(data))
        self._unsent.append(data)
        self.end += len(data)

    def finish(self) -> None:
        """No more bytes will be written."""
        self.finished = True

    def next_part(self, most: int) -> tuple[int, Chunk] | None:
        """The next bytes to send, at most `most`, and their offset; None if only the end, or nothing, is unsent."""
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
        """Keep what is being sent, joined with what was sent before if both are small."""
        kept = self._sent_chunks
        if len(chunk) < SMALL and len(kept) >= MANY:
            last = kept[-1][1]
            if type(last) is _Joined and len(last) < JOINED:
                last += chunk
                return
            chunk = _Joined(chunk)
        kept.append((offset, chunk))

    def next_end(self) -> int | None:
        """The offset of the end of the stream if it is its turn to be sent, or None."""
        if self.finished and self.sent == self.end:
            self.sent += 1
            return self.end
        return None

    def acknowledge(self, received: int, limit: int) -> None:
        """The other side has consumed what stands before `received`, and allows what stands before `limit`.

        Raises ProtocolError if it claims to have consumed what was never sent.
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
        """Send again from the offset `received` on. Raises ProtocolError if `can_rewind` says no."""
        if not self.can_rewind(received):
            raise ProtocolError(f"resumption from offset {received}; {self.acknowledged} to {self.sent} is possible")
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
        """Whether `received` is an offset that the other side can have reached, and from which all bytes are kept."""
        return self.acknowledged <= received <= self.sent

    def discard(self) -> None:
        """Let go of everything kept."""
        self._budget.give(self.kept)
        self.acknowledged = self.end
        self._sent_chunks.clear()
        self._unsent.clear()


def _end_of(placed: tuple[int, Chunk]) -> int:
    """The offset after a chunk."""
    return placed[0] + len(placed[1])


class Incoming:
    """Bytes received in order, and how many of them were consumed."""

    def __init__(self, window: Window) -> None:
        self._window = window
        self.expected = 0
        """The offset of the next byte, or end of stream, to arrive."""
        self.consumed = 0
        """Everything before this offset was consumed, the end of the stream included."""
        self.end: int | None = None
        """The offset at which the stream ends, once known."""
        self._told = 0
        self._chunks: deque[Chunk] = deque()

    @property
    def limit(self) -> int:
        """The offset before which bytes are allowed."""
        return self._window.limit

    @property
    def waiting(self) -> int:
        """How many bytes wait to be consumed."""
        return max(0, (self.expected if self.end is None else self.end) - self.consumed)

    @property
    def ended(self) -> bool:
        """Whether all bytes were taken and the end of the stream is next."""
        return not self._chunks and self.end is not None and self.expected == self.end + 1

    @property
    def complete(self) -> bool:
        """Whether everything was consumed, the end of the stream included."""
        return self.end is not None and self.consumed == self.end + 1

    def receive(self, offset: int, payload: Chunk, now: float) -> None:
        """Take bytes that arrived; those already here are dropped.

        Raises OutOfStep if bytes before them are missing, ProtocolError if they are more than was allowed or stand
        after the end of the stream.
        """
        end = offset + len(payload)
        if offset > self.expected:
            raise OutOfStep(f"bytes at offset {offset}, expected {self.expected}")
        if end > self._window.limit:
            raise ProtocolError(f"bytes up to offset {end}, allowed up to {self._window.limit}")
        if self.end is not None and end > self.end:
            raise ProtocolError(f"bytes up to offset {end} after the stream's end at {self.end}")
        if end <= self.expected:
            return
        _append(self._chunks, payload[self.expected - offset :] if offset < self.expected else payload)
        self.expected = end
        self._window.arrived(end, now)

    def receive_end(self, offset: int) -> None:
        """The stream ends at `offset`. Raises OutOfStep or ProtocolError as `receive` does."""
        if offset > self.expected:
            raise OutOfStep(f"the end at offset {offset}, expected {self.expected}")
        if offset != self.end and (offset < self.expected or self.end is not None):
            raise ProtocolError(f"the end at offset {offset}, but it was, or must be, elsewhere")
        self.end = offset
        self.expected = offset + 1

    def take(self, most: int) -> Chunk | None:
        """Bytes to be consumed next, at least one chunk and at most about `most`; None if none are here."""
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
        """`amount` bytes that were taken, or the end of the stream as 1, have been consumed."""
        self.consumed += amount

    @property
    def untold(self) -> int:
        """How many bytes were consumed of which the sender was not told yet."""
        return self.consumed - self._told

    def credit(self, now: float, late: bool = False) -> tuple[int, int] | None:
        """What the sender is to be told, consumed offset and limit, if it is time to; `late`: whatever is untold."""
        if not self.untold or not (late or self.complete or self.untold >= self._worth_telling()):
            return None
        self._told = self.consumed
        return self.consumed, self._window.grant(self.consumed, now)

    def _worth_telling(self) -> int:
        """Half the window; less once nothing waits here: the sender may have no credit left to send more."""
        half = self._window.size // 2
        return half if self._chunks else half // 2 + 1

    def discard(self) -> None:
        """Let go of everything held."""
        self._chunks.clear()
        self._window.close()
