"""The order in which a link's waiting messages are written: urgent ones first, then the lanes in rotation.

Each session has a lane of its own, in which its messages stay in order. A lane that is full is marked; once it has
drained to half, it is reported, so that its owner goes on. What nobody reads does not pile up: each lane, the urgent
messages, each queue and all queues of a process together have a cap, beyond which messages are refused.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable
from dataclasses import dataclass

MIB = 1 << 20
LANE_SIZE = 256 * 1024
"""Bytes from which on a lane counts as full."""
OVERHEAD = 64
"""Bytes of memory that a waiting message takes besides its own; the caps count them."""
SHARE = 256 * 1024
"""Bytes that each queue may hold even while all together are over their cap."""

Lane = Hashable


@dataclass(frozen=True, slots=True)
class Caps:
    """The most bytes of memory for the messages of one lane, for all urgent ones, and for one queue."""

    lane: int = 24 * MIB
    urgent: int = 4 * MIB
    queue: int = 96 * MIB


class Total:
    """The memory of the queues that hold more than a SHARE; beyond `most`, no queue may."""

    def __init__(self, most: int = 512 * MIB) -> None:
        self.most = most
        self.taken = 0


class LaneFull(Exception):
    """The lane is at its cap; the message was not queued."""


class QueueFull(Exception):
    """The queue, its urgent messages, or all queues together are at their cap; the message was not queued."""


class FairQueue:
    """Messages waiting for a link's writer. Below the caps nothing is refused: the sender checks `is_full`."""

    def __init__(self, lane_size: int = LANE_SIZE, caps: Caps | None = None, total: Total | None = None) -> None:
        self._lane_size = lane_size
        self._caps = caps or Caps()
        self._total = total or Total()
        self._memory = self._urgent_memory = 0
        self._counted = 0
        """What the total knows of: nothing until there is more than a SHARE."""
        self._urgent: dict[Hashable, bytes] = {}
        self._numbers = 0
        self._lanes: OrderedDict[Lane, _Waiting] = OrderedDict()
        self._full: set[Lane] = set()
        self._drained: list[Lane] = []

    def __bool__(self) -> bool:
        return bool(self._urgent or self._lanes)

    @property
    def waiting_bytes(self) -> int:
        """How many bytes wait in all."""
        return sum(map(len, self._urgent.values())) + sum(waiting.size for waiting in self._lanes.values())

    def put(self, message: bytes, lane: Lane | None = None) -> None:
        """Add a message at the end of its lane; without a lane it is urgent. Raises LaneFull or QueueFull."""
        if lane is None:
            self._numbers += 1
            self.put_latest(message, self._numbers)
            return
        waiting = self._lanes.get(lane)
        memory = self._memory + len(message) + OVERHEAD
        if memory > SHARE:  # a queue is rarely as long
            self._check(memory, waiting, len(message) + OVERHEAD)
        self._memory = memory
        if waiting is None:
            waiting = self._lanes[lane] = _Waiting()
        waiting.messages.append(message)
        waiting.size += len(message)

    def put_latest(self, message: bytes, key: Hashable) -> None:
        """Add an urgent message, in place of the one with the same key if that still waits. Raises QueueFull."""
        replaced = self._urgent.get(key)
        added = len(message) + OVERHEAD if replaced is None else len(message) - len(replaced)
        urgent, memory = self._urgent_memory + added, self._memory + added
        if urgent > self._caps.urgent:
            raise QueueFull(f"more than {self._caps.urgent >> 20} MiB of answers are not read")
        if memory > SHARE:
            self._check(memory, None, added)
        self._urgent[key] = message
        self._urgent_memory, self._memory = urgent, memory

    def _check(self, memory: int, waiting: _Waiting | None, added: int) -> None:
        """Check the caps, the queue's memory being `memory` with a message of `added`. Raises LaneFull or QueueFull."""
        caps, total = self._caps, self._total
        if waiting is not None and waiting.size + OVERHEAD * len(waiting.messages) + added > caps.lane:
            raise LaneFull(f"more than {caps.lane >> 20} MiB wait in one lane")
        if memory > caps.queue:
            raise QueueFull(f"more than {caps.queue >> 20} MiB are not read")
        if total.taken + memory - self._counted > total.most:
            raise QueueFull(f"{memory >> 10} KiB are not read here, and more than {total.most >> 20} MiB in all")
        self._count(memory)

    def _count(self, memory: int) -> None:
        """Have the total of all queues include so much of this one."""
        self._total.taken += memory - self._counted
        self._counted = memory

    def is_full(self, lane: Lane) -> bool:
        """Whether the lane has enough for now. If so, `drained` will name it once it has room again."""
        if self.size(lane) < self._lane_size:
            return False
        self._full.add(lane)
        return True

    def size(self, lane: Lane) -> int:
        """How many bytes wait in a lane."""
        waiting = self._lanes.get(lane)
        return waiting.size if waiting is not None else 0

    def discard(self, lane: Lane) -> None:
        """Drop what waits in a lane."""
        waiting = self._lanes.pop(lane, None)
        if waiting is not None:
            self._memory -= waiting.size + OVERHEAD * len(waiting.messages)
            self._recount()
        if lane in self._full:
            self._full.discard(lane)
            self._drained.append(lane)

    def clear(self) -> None:
        """Drop everything."""
        self._memory = self._urgent_memory = 0
        self._count(0)
        self._urgent.clear()
        self._lanes.clear()
        self._full.clear()
        self._drained.clear()

    def take(self, most: int) -> list[bytes]:
        """The messages to write next: all urgent ones, then one of each lane in turn until `most` bytes are reached."""
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
        """Whether `drained` has something to say."""
        return bool(self._drained)

    def drained(self) -> list[Lane]:
        """The lanes that were full and have room again, since the last call."""
        drained, self._drained = self._drained, []
        return drained


class _Waiting:
    """What waits in one lane."""

    __slots__ = ("messages", "size")

    def __init__(self) -> None:
        self.messages: deque[bytes] = deque()
        self.size = 0
