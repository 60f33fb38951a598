"""Slots shared fairly among keys."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from hubble.base.fairslots import SHARE, FairSlots


def taken(slots: FairSlots[int]) -> list[object]:
    """The keys of all that may start."""
    keys = []
    while (one := slots.take()) is not None:
        keys.append(one[0])
    return keys


def test_one_key_alone_gets_two_thirds() -> None:
    slots = FairSlots[int](90, 1000)
    for number in range(200):
        slots.put("a", number)
    assert len(taken(slots)) == 60
    assert (slots.used, len(slots)) == (60, 140)


def test_a_newcomer_finds_a_free_slot() -> None:
    slots = FairSlots[int](10, 1000)
    for number in range(100):
        slots.put("a", number)
    taken(slots)
    slots.put("b", 0)
    assert taken(slots) == ["b"]


def test_keys_take_turns() -> None:
    slots = FairSlots[int](1, 1000)
    for key in "aaabbc":
        slots.put(key, 0)
    order = []
    for _ in range(6):
        one = slots.take()
        assert one is not None
        order.append(one[0])
        slots.release(one[0])
    assert "".join(map(str, order)) == "abcaba"


def test_a_full_queue_drops_the_newest_of_the_greediest() -> None:
    slots = FairSlots[int](1, 3)
    assert [slots.put("a", number) for number in range(4)] == [None, None, None, 3]
    assert slots.put("b", 9) == 2
    assert slots.put("c", 8) is not None
    assert len(slots) == 3


def test_what_is_over_is_removed_wherever_it_waits() -> None:
    slots = FairSlots[int](1, 10)
    for number in range(6):
        slots.put(number % 2, number)
    assert sorted(slots.remove(lambda number: number in (2, 3))) == [2, 3]
    assert len(slots) == 4
    assert sorted(slots.clear()) == [0, 1, 4, 5]
    assert len(slots) == 0 and slots.take() is None


@given(st.lists(st.tuples(st.sampled_from(["put", "take", "release"]), st.integers(0, 4))), st.integers(1, 6))
def test_the_bounds_hold(steps: list[tuple[str, int]], most: int) -> None:
    slots = FairSlots[int](most, 5)
    running: Counter[object] = Counter()
    waiting = 0
    for step, key in steps:
        if step == "put":
            waiting += slots.put(key, 0) is None
        elif step == "take":
            one = slots.take()
            if one is not None:
                running[one[0]] += 1
                waiting -= 1
                free = most - running.total()
                assert free >= 0 and running[one[0]] - 1 <= SHARE * free
        elif running[key]:
            running[key] -= 1
            slots.release(key)
        assert (len(slots), slots.used) == (waiting, running.total())
        assert waiting <= 5
