from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubble.protocol.pace import FIRST, LONGEST, SHORTEST, TURN, Pace


def measured(pace: Pace, count: int, seconds: float) -> bool:
    pace.begin(100.0)
    pace.moved(count)
    return pace.end(100.0 + seconds)


@pytest.mark.parametrize(
    ("rate", "size"),
    [(12_500, SHORTEST), (125_000, 4096), (1_250_000, 32768), (12_500_000, LONGEST), (1e9, LONGEST)],
)
def test_a_piece_takes_fifty_milliseconds_at_most(rate: float, size: int) -> None:
    pace = Pace()
    for _ in range(5):
        measured(pace, int(rate * 0.2), 0.2)
    assert pace.size == size


def test_the_size_grows_by_and_by_and_shrinks_at_once() -> None:
    pace = Pace()
    assert measured(pace, 10 << 20, 0.01)
    assert pace.size == 4 * FIRST
    assert measured(pace, 10 << 20, 0.01)
    assert not measured(pace, 10 << 20, 0.01)
    assert measured(pace, 12_500, 0.1)
    assert pace.size == SHORTEST


def test_what_is_too_quick_to_measure_counts_as_fast() -> None:
    pace = Pace()
    assert measured(pace, 1, 0.0)
    assert pace.size == 2 * FIRST


def test_nothing_is_concluded_from_nothing() -> None:
    pace = Pace()
    assert not pace.end(1.0)
    pace.begin(1.0)
    assert not pace.end(2.0)
    pace.moved(10 << 20)
    assert not pace.end(3.0)
    assert pace.size == FIRST


def test_measuring_goes_on_when_it_has_begun() -> None:
    pace = Pace()
    pace.begin(1.0)
    pace.moved(1_000)
    pace.begin(2.0)
    assert pace.end(3.0)
    assert pace.size == SHORTEST


@given(st.lists(st.tuples(st.integers(0, 1 << 30), st.floats(0, 100)), max_size=20))
def test_the_size_keeps_its_bounds(moves: list[tuple[int, float]]) -> None:
    pace = Pace()
    for count, seconds in moves:
        before = pace.size
        measured(pace, count, seconds)
        assert SHORTEST <= pace.size <= LONGEST
        if count and seconds > 0.01 and pace.size > SHORTEST:
            assert pace.size <= max(before, count * TURN / seconds * 1.01)
