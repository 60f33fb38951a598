from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubble.protocol.credit import INITIAL_WINDOW, LARGEST_WINDOW, SMALLEST_WINDOW, Budget, Window
from hubble.protocol.streams import Incoming

KIB = 1024
ROUND_TRIP = 0.1
TICK = 0.001
MESSAGE = 7000  # a size that divides nothing
UNLIMITED = 1e12


def test_a_budget_gives_what_it_has_and_no_more() -> None:
    budget = Budget(100)
    assert budget.take(60)
    assert not budget.take(41)
    assert budget.taken == 60
    assert budget.take(40)
    assert budget.exhausted
    budget.give(1)
    assert not budget.exhausted
    assert budget.taken == 99


def test_a_budget_takes_from_its_parent_too() -> None:
    process = Budget(100)
    link, other = Budget(80, process), Budget(80, process)
    assert link.take(80)
    assert not other.take(30)
    assert (process.taken, other.taken) == (80, 0)
    assert other.take(20)
    assert other.exhausted  # its parent is
    link.give(80)
    assert not other.exhausted
    assert (process.taken, link.taken, other.taken) == (20, 0, 20)


def test_a_budget_that_is_too_small_takes_nothing_from_its_parent() -> None:
    process = Budget(100)
    assert not Budget(10, process).take(11)
    assert process.taken == 0


def test_charging_is_never_refused() -> None:
    process = Budget(10)
    link = Budget(10, process)
    link.charge(25)
    assert (link.taken, process.taken, link.exhausted) == (25, 25, True)
    link.give(25)
    assert (link.taken, process.taken) == (0, 0)


def test_more_cannot_be_given_back_than_was_taken() -> None:
    budget = Budget(10)
    budget.take(5)
    with pytest.raises(AssertionError):
        budget.give(6)


def test_a_window_begins_small_and_takes_it_from_its_budget() -> None:
    budget = Budget(1 << 30)
    window = Window(budget)
    assert window.limit == INITIAL_WINDOW == 256 * KIB
    assert budget.taken == INITIAL_WINDOW
    window.close()
    window.close()
    assert budget.taken == 0


@pytest.mark.parametrize(
    ("left", "size", "taken"),
    [(256, 256, 256), (255, 128, 128), (64, 64, 64), (33, 32, 32), (31, 16, 0), (16, 16, 0), (0, 16, 0)],
)
def test_a_window_takes_less_where_the_budget_has_less_but_always_something(left: int, size: int, taken: int) -> None:
    budget = Budget(left * KIB)
    window = Window(budget)
    assert (window.limit, budget.taken) == (size * KIB, taken * KIB)
    window.close()
    assert budget.taken == 0


@pytest.mark.parametrize("initial", [SMALLEST_WINDOW, SMALLEST_WINDOW + 1, 20_000, 100_000, INITIAL_WINDOW])
def test_no_window_is_below_the_smallest(initial: int) -> None:
    assert Window(Budget(0), initial=initial).limit == SMALLEST_WINDOW


def test_the_limit_never_falls() -> None:
    window = Window(Budget(1 << 30), initial=100 * KIB)
    assert window.grant(0, now=0.0) == 100 * KIB
    assert window.grant(60 * KIB, now=0.0) == 160 * KIB
    assert window.grant(10 * KIB, now=0.0) == 160 * KIB


class Transfer:
    """A sender that is told of credit half a round trip late, and a receiver; their rates are bytes per second."""

    def __init__(
        self, window: Window, sender: float = UNLIMITED, receiver: float = UNLIMITED, message: int = MESSAGE
    ) -> None:
        self.window = window
        self.message = bytes(message)
        self.incoming = Incoming(window)
        self.rates = sender, receiver
        self.now = 0.0
        self.sent = 0.0
        self.may_consume = 0.0
        self.allowed = window.limit
        self.grants: deque[tuple[float, int]] = deque()
        self.flight: deque[tuple[float, int]] = deque()

    def go_on(self, seconds: float) -> int:
        """The size of the window after some more seconds."""
        for _ in range(round(seconds / TICK)):
            self.now += TICK
            while self.grants and self.grants[0][0] <= self.now:
                self.allowed = self.grants.popleft()[1]
            self.sent = min(self.allowed, self.sent + self.rates[0] * TICK)
            self.flight.append((self.now + ROUND_TRIP / 2, int(self.sent)))
            while self.flight and self.flight[0][0] <= self.now:
                self._arrive(self.flight.popleft()[1])
            self._consume()
        return self.window.size

    def _arrive(self, end: int) -> None:
        while self.incoming.expected < end:
            self.incoming.receive(self.incoming.expected, self.message[: end - self.incoming.expected], self.now)

    def _consume(self) -> None:
        incoming = self.incoming
        self.may_consume = min(incoming.expected, self.may_consume + self.rates[1] * TICK)
        while incoming.waiting and incoming.consumed < self.may_consume:
            incoming.consume(len(incoming.take(1) or b""))
            credit = incoming.credit(self.now)
            if credit:
                self.grants.append((self.now + ROUND_TRIP / 2, credit[1]))


def test_a_window_that_holds_the_sender_back_grows_to_the_largest() -> None:
    budget = Budget(1 << 30)
    transfer = Transfer(Window(budget))
    assert transfer.go_on(2.0) == LARGEST_WINDOW == budget.taken
    assert transfer.incoming.consumed > LARGEST_WINDOW


def test_credit_suffices_for_the_rate_of_the_path_and_not_for_much_more() -> None:
    rate = 20 * 1024 * KIB
    transfer = Transfer(Window(Budget(1 << 30)), receiver=rate)
    transfer.go_on(2.0)
    before = transfer.incoming.consumed
    assert rate * ROUND_TRIP <= transfer.go_on(2.0) <= 8 * rate * ROUND_TRIP
    assert transfer.incoming.consumed - before > 0.95 * 2.0 * rate


def test_a_window_does_not_grow_for_a_slow_receiver() -> None:
    assert Transfer(Window(Budget(1 << 30)), receiver=100 * KIB).go_on(30.0) == INITIAL_WINDOW


def test_a_window_does_not_grow_for_a_slow_sender() -> None:
    """It is never held back by credit, so that what looks like a round trip is its own slowness."""
    assert Transfer(Window(Budget(1 << 30)), sender=100 * KIB).go_on(60.0) == INITIAL_WINDOW


def test_a_window_grows_no_further_than_it_was_told() -> None:
    assert Transfer(Window(Budget(1 << 30), most=1024 * KIB)).go_on(2.0) == 1024 * KIB


def test_a_window_does_not_grow_beyond_its_budget_but_goes_on() -> None:
    budget = Budget(600 * KIB)
    transfer = Transfer(Window(budget))
    assert transfer.go_on(2.0) == 512 * KIB
    assert budget.taken == 512 * KIB
    before = transfer.incoming.consumed
    transfer.go_on(1.0)
    assert transfer.incoming.consumed - before >= 0.7 * 512 * KIB / ROUND_TRIP


def test_a_window_that_began_without_a_budget_grows_once_there_is_one() -> None:
    budget = Budget(0)
    window = Window(budget)
    assert window.size == SMALLEST_WINDOW
    budget.total = 1 << 30
    assert Transfer(window).go_on(5.0) == LARGEST_WINDOW
    window.close()
    assert budget.taken == 0


@given(
    totals=st.lists(st.integers(0, 2000 * KIB), min_size=2, max_size=2),
    steps=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 400 * KIB), st.floats(0, 1)), max_size=60),
)
def test_windows_never_take_more_than_there_is_and_give_all_of_it_back(
    totals: list[int], steps: list[tuple[int, int, float]]
) -> None:
    process = Budget(totals[0])
    links = [Budget(totals[1], process), Budget(totals[1], process)]
    windows = [Window(links[number % 2], initial=64 * KIB, most=512 * KIB) for number in range(4)]
    consumed, now = [0] * 4, 0.0
    for number, amount, passed in steps:
        now += passed
        window = windows[number]
        window.arrived(min(window.limit, consumed[number] + amount), now)
        consumed[number] = min(window.limit, consumed[number] + amount)
        before = window.limit
        assert window.grant(consumed[number], now) >= before
        assert window.limit >= consumed[number] + SMALLEST_WINDOW
        assert process.taken == links[0].taken + links[1].taken <= process.total
        assert all(link.taken <= link.total for link in links)
    for window in windows:
        window.close()
    assert process.taken == links[0].taken == links[1].taken == 0
