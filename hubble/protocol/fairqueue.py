"""The order in which a link's waiting messages are written: urgent ones first, then the lanes in rotation.

Each session has a lane of its own, in which its messages stay in order. A lane that is full is marked; once it has
drained to half, it is reported, so that its owner goes on.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable

LANE_SIZE = 256 * 1024
"""Bytes from which on a lane counts as full."""

Lane = Hashable


class FairQueue:
    """Messages waiting for a link's writer. Nothing is refused: who puts heeds `is_full`."""

    def __init__(self, lane_size: int = LANE_SIZE) -> None:
        self._lane_size = lane_size
        self._urgent: deque[bytes] = deque()
        self._lanes: OrderedDict[Lane, _Waiting] = OrderedDict()
        self._full: set[Lane] = set()
        self._drained: list[Lane] = []

    def __bool__(self) -> bool:
        return bool(self._urgent or self._lanes)

    @property
    def waiting_bytes(self) -> int:
        """How many bytes wait in all."""
        return sum(map(len, self._urgent)) + sum(waiting.size for waiting in self._lanes.values())

    def put(self, message: bytes, lane: Lane | None = None) -> None:
        """Add a message at the end of its lane; without a lane it is urgent."""
        if lane is None:
            self._urgent.append(message)
            return
        waiting = self._lanes.get(lane)
        if waiting is None:
            waiting = self._lanes[lane] = _Waiting()
        waiting.messages.append(message)
        waiting.size += len(message)

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
        self._lanes.pop(lane, None)
        if lane in self._full:
            self._full.discard(lane)
            self._drained.append(lane)

    def clear(self) -> None:
        """Drop everything."""
        self._urgent.clear()
        self._lanes.clear()
        self._full.clear()
        self._drained.clear()

    def take(self, most: int) -> list[bytes]:
        """The messages to write next: all urgent ones, then one of each lane in turn until `most` bytes are reached."""
        batch: list[bytes] = []
        size = 0
        if self._urgent:
            batch.extend(self._urgent)
            size = sum(map(len, batch))
            self._urgent.clear()
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
        return batch

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
