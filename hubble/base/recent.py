"""A set that keeps its latest members only."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable


class RecentSet:
    """The last `size` different members added."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._members: OrderedDict[Hashable, None] = OrderedDict()

    def __contains__(self, member: Hashable) -> bool:
        return member in self._members

    def add(self, member: Hashable) -> bool:
        """Add a member. Return whether it is new."""
        if member in self._members:
            return False
        self._members[member] = None
        if len(self._members) > self._size:
            self._members.popitem(last=False)
        return True

    def discard(self, member: Hashable) -> None:
        """Remove a member, if it is present."""
        self._members.pop(member, None)
