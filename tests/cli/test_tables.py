"""Tables for people at a terminal."""

from __future__ import annotations

from hubble.cli.tables import LONGEST_CELL, table


def test_a_long_name_does_not_push_the_other_columns_away() -> None:
    head, long, short = table(["name", "sessions"], [["x" * 255, 3], ["office", 12]])
    assert head == "NAME" + " " * (LONGEST_CELL - 4) + "  SESSIONS"
    assert long == "x" * (LONGEST_CELL - 3) + "..." + " " * 9 + "3"
    assert short == "office" + " " * (LONGEST_CELL - 6) + " " * 8 + "12"


def test_a_cell_that_just_fits_is_whole() -> None:
    assert table(["name"], [["x" * LONGEST_CELL]])[1] == "x" * LONGEST_CELL


def test_nothing_in_a_cell_acts_on_the_terminal() -> None:
    assert table(["name"], [["a\x1b[2J\u202eb"]])[1] == "a\ufffd[2J\ufffdb"
