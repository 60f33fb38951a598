from __future__ import annotations

import os

import pytest

from hubble.base.errors import HubbleError
from hubble.supervisor.load import ABSENT, Load, LoadTable


@pytest.fixture
def table() -> LoadTable:
    return LoadTable(3)


def test_all_workers_are_absent_at_first(table: LoadTable) -> None:
    assert [table[worker] for worker in range(3)] == [ABSENT] * 3 and table.present() == []


def test_who_has_the_descriptor_shares_the_numbers(table: LoadTable) -> None:
    load = Load(LoadTable(3, table.descriptor), 1)
    load.set(7)
    assert table.present() == [7] and table[1] == 7
    load.withdraw()
    assert table.present() == []


def test_the_descriptor_is_given_to_no_program_by_mistake(table: LoadTable) -> None:
    assert not os.get_inheritable(table.descriptor)


@pytest.mark.parametrize(
    "own, others, above",
    [
        (0, [], False),
        (1000, [], False),
        (2, [0, 5], False),
        (3, [0, 5], True),
        (164, [160, 500], False),
        (173, [160, 500], True),
        (172, [160, 500], False),
        (5, [5, 5], False),
        (0, [9, 9], False),
    ],
)
def test_who_has_clearly_more_than_another_is_above(table: LoadTable, own: int, others: list[int], above: bool) -> None:
    table.set(0, own)
    for worker, number in enumerate(others, 1):
        table.set(worker, number)
    assert Load(table, 0).is_above_others() is above


def test_who_is_absent_counts_for_nothing(table: LoadTable) -> None:
    table.set(0, 100)
    table.set(1, 0)
    assert Load(table, 0).is_above_others()
    table.set(1, ABSENT)
    assert not Load(table, 0).is_above_others()


def test_a_lack_of_memory_is_reported_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "memfd_create", refuse)
    with pytest.raises(HubbleError, match=r"^cannot allocate shared memory for the workers: Too many open files$"):
        LoadTable(2)
