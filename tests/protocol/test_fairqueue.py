from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from hubble.protocol.fairqueue import OVERHEAD, SHARE, Caps, FairQueue, LaneFull, QueueFull, Total
from tests.support.examples import TIMEOUT

EVERYTHING = 1 << 30


def test_lanes_take_turns() -> None:
    queue = FairQueue()
    for message in (b"a1", b"a2", b"a3"):
        queue.put(message, "a")
    queue.put(b"b1", "b")
    queue.put(b"c1", "c")
    queue.put(b"c2", "c")
    assert queue.take(EVERYTHING) == [b"a1", b"b1", b"c1", b"a2", b"c2", b"a3"]


def test_the_turn_is_remembered_between_takes() -> None:
    queue = FairQueue()
    for lane in "ab":
        for number in range(3):
            queue.put(f"{lane}{number}".encode(), lane)
    assert [queue.take(1) for _ in range(4)] == [[b"a0"], [b"b0"], [b"a1"], [b"b1"]]


def test_a_new_lane_waits_one_turn_and_no_more() -> None:
    queue = FairQueue()
    for number in range(100):
        queue.put(b"bulk%d" % number, "bulk")
    queue.take(1)
    queue.put(b"key", "shell")
    assert queue.take(len(b"bulk1key")) == [b"bulk1", b"key"]


def test_urgent_messages_overtake_all_lanes_and_keep_their_order() -> None:
    queue = FairQueue()
    queue.put(b"bulk", "a")
    queue.put(b"first")
    queue.put(b"second")
    assert queue.take(1) == [b"first", b"second"]
    assert queue.take(1) == [b"bulk"]


def test_a_batch_ends_once_it_is_large_enough() -> None:
    queue = FairQueue()
    for number in range(5):
        queue.put(bytes([number]) * 10, "a")
    assert [len(queue.take(25)), len(queue.take(20)), len(queue.take(1))] == [3, 2, 0]


def test_an_empty_queue_is_false_and_gives_nothing() -> None:
    queue = FairQueue()
    assert not queue
    assert queue.take(EVERYTHING) == []
    queue.put(b"x", "a")
    assert queue
    queue.take(EVERYTHING)
    assert not queue


def test_a_full_lane_is_reported_once_it_has_drained_to_half() -> None:
    queue = FairQueue(lane_size=40)
    for _ in range(4):
        assert not queue.is_full("a")
        queue.put(b"x" * 10, "a")
    assert queue.is_full("a")
    queue.take(1)
    assert queue.drained() == []
    queue.take(1)
    assert queue.drained() == ["a"]
    assert queue.drained() == []


def test_a_full_lane_that_empties_at_once_is_reported() -> None:
    queue = FairQueue(lane_size=10)
    queue.put(b"x" * 20, "a")
    assert queue.is_full("a")
    queue.take(EVERYTHING)
    assert queue.drained() == ["a"]


def test_a_lane_nobody_asked_about_is_not_reported() -> None:
    queue = FairQueue(lane_size=10)
    queue.put(b"x" * 20, "a")
    queue.take(EVERYTHING)
    assert queue.drained() == []


def test_only_the_lane_that_is_full_is_full() -> None:
    queue = FairQueue(lane_size=10)
    queue.put(b"x" * 10, "a")
    assert queue.is_full("a")
    assert not queue.is_full("b")


def test_discard_drops_one_lane_and_reports_that_it_has_room_again() -> None:
    queue = FairQueue(lane_size=2)
    queue.put(b"a1", "a")
    queue.put(b"b1", "b")
    assert queue.is_full("a")
    queue.discard("a")
    queue.discard("never seen")
    assert (queue.size("a"), queue.waiting_bytes) == (0, 2)
    assert queue.take(EVERYTHING) == [b"b1"]
    assert queue.drained() == ["a"]


def test_clear_drops_everything() -> None:
    queue = FairQueue(lane_size=2)
    queue.put(b"urgent")
    queue.put(b"a1", "a")
    assert queue.is_full("a")
    queue.clear()
    assert (bool(queue), queue.waiting_bytes, queue.take(EVERYTHING), queue.drained()) == (False, 0, [], [])
    queue.put(b"a2", "a")
    assert queue.is_full("a")  # the lane size is still the one asked for


def test_the_latest_of_a_key_takes_the_place_of_the_one_before() -> None:
    queue = FairQueue()
    queue.put_latest(b"credit 1", "a")
    queue.put(b"other")
    queue.put_latest(b"credit 22", "a")
    assert queue.waiting_bytes == len(b"credit 22other")
    assert queue.take(EVERYTHING) == [b"credit 22", b"other"]


def fill(queue: FairQueue, lane: str | None, size: int = 1000, most: int = 100_000) -> int:
    """Put messages until the queue refuses one: how many it took."""
    for count in range(most):
        try:
            queue.put(b"x" * size, lane)
        except (LaneFull, QueueFull):
            return count
    raise AssertionError("the queue refuses nothing")


class TestCaps:
    """Memory counts, that of the messages' overhead as well; below SHARE nothing is ever refused."""

    CAPS = Caps(lane=2 * SHARE, urgent=SHARE // 2, queue=3 * SHARE)

    @pytest.mark.parametrize("size", [1, 100, 10_000])
    def test_a_lane_refuses_what_exceeds_its_cap(self, size: int) -> None:
        queue = FairQueue(caps=self.CAPS)
        assert fill(queue, "a", size) == 2 * SHARE // (size + OVERHEAD)
        with pytest.raises(LaneFull):
            queue.put(b"x" * size, "a")
        queue.put(b"x", "b")
        queue.take(size)
        queue.put(b"x" * size, "a")

    def test_a_queue_refuses_what_exceeds_its_cap_in_all_lanes_together(self) -> None:
        queue = FairQueue(caps=self.CAPS)
        fill(queue, "a")
        assert fill(queue, "b") == pytest.approx(SHARE // (1000 + OVERHEAD), abs=1)
        with pytest.raises(QueueFull):
            queue.put(b"x" * 1000, "c")
        queue.discard("a")
        queue.put(b"x" * 1000, "c")

    def test_urgent_messages_have_a_cap(self) -> None:
        queue = FairQueue(caps=self.CAPS)
        assert fill(queue, None, 33) == SHARE // 2 // (33 + OVERHEAD)
        for number in range(10_000):
            queue.put_latest(b"%33d" % number, "a") if number else queue.take(1)
        assert queue.take(1) == [b"%33d" % 9_999]

    def test_queues_share_a_total_beyond_what_each_may_always_hold(self) -> None:
        total = Total(3 * SHARE)
        first, second, third = (FairQueue(caps=self.CAPS, total=total) for _ in range(3))
        fill(first, "a")
        fill(second, "b")
        assert fill(third, "c") == SHARE // (1000 + OVERHEAD)
        assert 2 * SHARE < total.taken <= 3 * SHARE
        first.clear()
        third.put(b"x" * 1000, "c")
        while second or third:
            second.take(5000)
            third.take(5000)
        assert total.taken == 0


class AnyUse(RuleBasedStateMachine):
    """Any use of a queue, beside a plain list for each lane: order is kept, and nothing is lost or doubled."""

    lanes = st.sampled_from(["a", "b", "c", None])

    def __init__(self) -> None:
        super().__init__()
        self.queue = FairQueue(lane_size=60)
        self.expected: dict[str | None, deque[bytes]] = {lane: deque() for lane in ("a", "b", "c", None)}
        self.marked: set[str | None] = set()
        self.count = 0

    @rule(lane=lanes, size=st.integers(0, 50))
    def put(self, lane: str | None, size: int) -> None:
        message = b"%s %d " % (str(lane).encode(), self.count) + b"x" * size
        self.count += 1
        self.queue.put(message, lane)
        self.expected[lane].append(message)

    @rule(most=st.integers(1, 150))
    def take(self, most: int) -> None:
        waiting = {lane: len(messages) for lane, messages in self.expected.items()}
        taken: dict[str | None, int] = dict.fromkeys(self.expected, 0)
        batch = self.queue.take(most)
        for message in batch:
            lane = self._lane_of(message)
            assert self.expected[lane].popleft() == message
            taken[lane] += 1
        assert taken[None] == waiting[None], "urgent messages were left behind"
        assert [self._lane_of(message) for message in batch[: taken[None]]] == [None] * taken[None]
        for one in "abc":
            for other in "abc":
                assert taken[one] <= taken[other] + 1 or taken[other] == waiting[other], "a lane was passed over"
        assert sum(map(len, batch)) >= most or not self.queue
        assert sum(map(len, batch[:-1])) < most or taken[None] >= len(batch) - 1

    @rule(lane=st.sampled_from("abc"))
    def ask_whether_full(self, lane: str) -> None:
        full = self.queue.is_full(lane)
        assert full == (sum(map(len, self.expected[lane])) >= 60)
        if full:
            self.marked.add(lane)

    @rule()
    def ask_which_have_drained(self) -> None:
        drained = {lane for lane in self.marked if sum(map(len, self.expected[lane])) <= 30}
        assert self.queue.has_drained >= bool(drained)
        reported = self.queue.drained()
        assert not self.queue.has_drained
        assert drained <= set(reported) <= self.marked
        self.marked.difference_update(reported)

    @rule(lane=st.sampled_from("abc"))
    def discard(self, lane: str) -> None:
        self.queue.discard(lane)
        self.expected[lane].clear()

    @precondition(lambda self: self.count > 30)
    @rule()
    def clear(self) -> None:
        self.queue.clear()
        for messages in self.expected.values():
            messages.clear()
        self.marked.clear()

    @invariant()
    def counts_are_right(self) -> None:
        sizes = {lane: sum(map(len, messages)) for lane, messages in self.expected.items()}
        assert self.queue.waiting_bytes == sum(sizes.values())
        assert {lane: self.queue.size(lane) for lane in "abc"} == {lane: sizes[lane] for lane in "abc"}
        assert bool(self.queue) == any(self.expected.values())

    @staticmethod
    def _lane_of(message: bytes) -> str | None:
        name = message.split()[0].decode()
        return None if name == "None" else name


TestAnyUse = pytest.mark.timeout(TIMEOUT)(AnyUse.TestCase)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.binary(min_size=1, max_size=20))), st.integers(1, 40))
def test_everything_put_is_taken(puts: list[tuple[str, bytes]], most: int) -> None:
    queue = FairQueue()
    for lane, message in puts:
        queue.put(message, lane)
    taken = []
    while queue:
        taken += queue.take(most)
    assert sorted(taken) == sorted(message for _, message in puts)
