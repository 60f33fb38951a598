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
        self.waiting_bytes = 0
        self._lane_size = lane_size
        self._urgent: deque[bytes] = deque()
        self._lanes: OrderedDict[Lane, deque[bytes]] = OrderedDict()
        self._sizes: dict[Lane, int] = {}
        self._full: set[Lane] = set()
        self._drained: list[Lane] = []

    def __bool__(self) -> bool:
        return bool(self._urgent or self._lanes)

    def put(self, message: bytes, lane: Lane | None = None) -> None:
        """Add a message at the end of its lane; without a lane it is urgent."""
        self.waiting_bytes += len(message)
        if lane is None:
            self._urgent.append(message)
            return
        messages = self._lanes.get(lane)
        if messages is None:
            self._lanes[lane] = deque((message,))
        else:
            messages.append(message)
        self._sizes[lane] = self._sizes.get(lane, 0) + len(message)

    def is_full(self, lane: Lane) -> bool:
        """Whether the lane has enough for now. If so, `drained` will name it once it has room again."""
        if self._sizes.get(lane, 0) < self._lane_size:
            return False
        self._full.add(lane)
        return True

    def size(self, lane: Lane) -> int:
        """How many bytes wait in a lane."""
        return self._sizes.get(lane, 0)

    def discard(self, lane: Lane) -> None:
        """Drop what waits in a lane."""
        if self._lanes.pop(lane, None) is not None:
            self.waiting_bytes -= self._sizes.pop(lane)
        self._full.discard(lane)

    def clear(self) -> None:
        """Drop everything."""
        self.__init__(self._lane_size)  # type: ignore[misc]

    def take(self, most: int) -> list[bytes]:
        """The messages to write next: all urgent ones, then one of each lane in turn until `most` bytes are reached."""
        batch = list(self._urgent)
        size = sum(map(len, batch))
        self._urgent.clear()
        while self._lanes and size < most:
            lane, messages = next(iter(self._lanes.items()))
            message = messages.popleft()
            batch.append(message)
            size += len(message)
            self._rotate(lane, len(message))
        self.waiting_bytes -= size
        return batch

    def drained(self) -> list[Lane]:
        """The lanes that were full and have room again, since the last call."""
        drained, self._drained = self._drained, []
        return drained

    def _rotate(self, lane: Lane, taken: int) -> None:
        left = self._sizes[lane] - taken
        if self._lanes[lane]:
            self._sizes[lane] = left
            self._lanes.move_to_end(lane)
        else:
            del self._lanes[lane], self._sizes[lane]
        if lane in self._full and left <= self._lane_size // 2:
            self._full.discard(lane)
            self._drained.append(lane)
