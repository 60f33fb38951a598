"""The order in which a link's waiting messages are written: urgent messages first, then the lanes in rotation.

Each session has its own lane, which keeps its messages in order. A full lane is marked, and reported once it has
drained to half, so that its owner continues. Memory is bounded if the peer does not read: each lane, the urgent
messages, each queue, and all queues of a process together have a cap. Messages beyond a cap are refused.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable
from dataclasses import dataclass

MIB = 1 << 20
LANE_SIZE = 256 * 1024
"""A lane with this many bytes or more is full."""
OVERHEAD = 64
"""Bytes of memory that each waiting message takes besides its content. The caps include them."""
SHARE = 256 * 1024
"""Bytes that each queue may hold even while all queues together exceed their cap."""

Lane = Hashable


@dataclass(frozen=True, slots=True)
class Caps:
    """The most bytes of memory for the messages of one lane, for all urgent messages, and for one queue."""

    lane: int = 24 * MIB
    urgent: int = 4 * MIB
    queue: int = 96 * MIB


class Total:
    """The memory of all queues larger than SHARE. If it would exceed `most` bytes, no queue may grow beyond SHARE."""

    def __init__(self, most: int = 512 * MIB) -> None:
        self.most = most
        self.taken = 0


class LaneFull(Exception):
    """The lane has reached its cap. The message was not queued."""


class QueueFull(Exception):
    """The queue, its urgent messages, or all queues together have reached their cap. The message was not queued."""


class FairQueue:
    """Messages waiting for a link's writer. A full lane still accepts messages up to the cap: check `is_full` first."""

    def __init__(self, lane_size: int = LANE_SIZE, caps: Caps | None = None, total: Total | None = None) -> None:
        self._lane_size = lane_size
        self._caps = caps or Caps()
        self._total = total or Total()
        self._memory = self._urgent_memory = 0
        self._counted = 0
        """The bytes of this queue in the total: 0 until it exceeds SHARE."""
        self._urgent: dict[Hashable, bytes] = {}
        self._numbers = 0
        self._lanes: OrderedDict[Lane, _Waiting] = OrderedDict()
        self._full: set[Lane] = set()
        self._drained: list[Lane] = []

    def __bool__(self) -> bool:
        return bool(self._urgent or self._lanes)

    @property
    def waiting_bytes(self) -> int:
        """The number of waiting bytes."""
        return sum(map(len, self._urgent.values())) + sum(waiting.size for waiting in self._lanes.values())

    def put(self, message: bytes, lane: Lane | None = None) -> None:
        """Add a message at the end of its lane. A message without a lane is urgent. Raises LaneFull or QueueFull."""
        if lane is None:
            self._numbers += 1
            self.put_latest(message, self._numbers)
            return
        waiting = self._lanes.get(lane)
        memory = self._memory + len(message) + OVERHEAD
        if memory > SHARE:  # the common case skips the checks
            self._check(memory, waiting, len(message) + OVERHEAD)
        self._memory = memory
        if waiting is None:
            waiting = self._lanes[lane] = _Waiting()
        waiting.messages.append(message)
        waiting.size += len(message)

    def put_latest(self, message: bytes, key: Hashable) -> None:
        """Add an urgent message. It replaces a waiting message with the same key. Raises QueueFull."""
        replaced = self._urgent.get(key)
        added = len(message) + OVERHEAD if replaced is None else len(message) - len(replaced)
        urgent, memory = self._urgent_memory + added, self._memory + added
        if urgent > self._caps.urgent:
            raise QueueFull(f"the peer has left more than {self._caps.urgent >> 20} MiB of answers unread")
        if memory > SHARE:
            self._check(memory, None, added)
        self._urgent[key] = message
        self._urgent_memory, self._memory = urgent, memory

    def _check(self, memory: int, waiting: _Waiting | None, added: int) -> None:
        """Check the caps for a message of `added` bytes in a queue of then `memory`. Raises LaneFull or QueueFull."""
        caps, total = self._caps, self._total
        if waiting is not None and waiting.size + OVERHEAD * len(waiting.messages) + added > caps.lane:
            raise LaneFull(f"more than {caps.lane >> 20} MiB wait in one lane")
        if memory > caps.queue:
            raise QueueFull(f"the peer has left more than {caps.queue >> 20} MiB unread")
        if total.taken + memory - self._counted > total.most:
            text = f"the peer has left {memory >> 10} KiB unread, and all peers more than {total.most >> 20} MiB"
            raise QueueFull(text)
        self._count(memory)

    def _count(self, memory: int) -> None:
        """Set this queue's part of the total to `memory` bytes."""
        self._total.taken += memory - self._counted
        self._counted = memory

    def is_full(self, lane: Lane) -> bool:
        """Return whether the lane is full. If so, `drained` reports it once it has room again."""
        if self.size(lane) < self._lane_size:
            return False
        self._full.add(lane)
        return True

    def size(self, lane: Lane) -> int:
        """Return the number of bytes waiting in a lane."""
        waiting = self._lanes.get(lane)
        return waiting.size if waiting is not None else 0

    def discard(self, lane: Lane) -> None:
        """Drop the messages waiting in a lane."""
        waiting = self._lanes.pop(lane, None)
        if waiting is not None:
            self._memory -= waiting.size + OVERHEAD * len(waiting.messages)
            self._recount()
        if lane in self._full:
            self._full.discard(lane)
            self._drained.append(lane)

    def clear(self) -> None:
        """Drop all messages."""
        self._memory = self._urgent_memory = 0
        self._count(0)
        self._urgent.clear()
        self._lanes.clear()
        self._full.clear()
        self._drained.clear()

    def take(self, most: int) -> list[bytes]:
        """Return the messages to write next: all urgent ones, then one of each lane in turn until `most` bytes."""
        batch: list[bytes] = []
        size = 0
        if self._urgent:
            batch.extend(self._urgent.values())
            size = sum(map(len, batch))
            self._urgent.clear()
            self._urgent_memory = 0
        lanes = self._lanes
        while lanes and size < most:
            lane, waiting = lanes.popitem(last=False)
            message = waiting.messages.popleft()
            batch.append(message)
            size += len(message)
            waiting.size -= len(message)
            if waiting.messages:
                lanes[lane] = waiting
            if self._full and lane in self._full and waiting.size <= self._lane_size // 2:
                self._full.discard(lane)
                self._drained.append(lane)
        self._memory -= size + OVERHEAD * len(batch)
        if self._counted:
            self._recount()
        return batch

    def _recount(self) -> None:
        self._count(self._memory if self._memory > SHARE else 0)

    @property
    def has_drained(self) -> bool:
        """Whether `drained` has lanes to report."""
        return bool(self._drained)

    def drained(self) -> list[Lane]:
        """Return the lanes that have drained since the last call."""
        drained, self._drained = self._drained, []
        return drained


class _Waiting:
    """The waiting messages of one lane."""

    __slots__ = ("messages", "size")

    def __init__(self) -> None:
        self.messages: deque[bytes] = deque()
        self.size = 0
