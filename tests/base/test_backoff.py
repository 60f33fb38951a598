from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from hubble.base.backoff import Backoff


def lowest() -> float:
    return 0.0


def highest() -> float:
    return 1.0


def test_doubles_up_to_the_most() -> None:
    backoff = Backoff(0.5, 6.0, highest)
    assert [backoff.next_delay() for _ in range(6)] == [0.5, 1.0, 2.0, 4.0, 6.0, 6.0]


def test_draws_from_the_upper_half() -> None:
    backoff = Backoff(0.5, 6.0, lowest)
    assert [backoff.next_delay() for _ in range(5)] == [0.25, 0.5, 1.0, 2.0, 3.0]


def test_begins_anew_after_a_success() -> None:
    backoff = Backoff(0.5, 6.0, highest)
    for _ in range(4):
        backoff.next_delay()
    backoff.succeeded()
    assert backoff.next_delay() == 0.5


def test_many_failures_neither_overflow_nor_exceed_the_most() -> None:
    backoff = Backoff(0.5, 30.0, highest)
    assert [backoff.next_delay() for _ in range(2000)][-1] == 30.0


@given(seed=st.integers(0, 1000), failures=st.integers(1, 40))
def test_two_that_fail_together_do_not_stay_in_step(seed: int, failures: int) -> None:
    one, other = (Backoff(0.5, 30.0, random.Random(seed + n).random) for n in range(2))
    assert [one.next_delay() for _ in range(failures)] != [other.next_delay() for _ in range(failures)]
