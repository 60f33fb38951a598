"""docs/security.md names tests that exist, and options that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hubble.options.agent import AGENT
from hubble.options.proxy import PROXY

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "security.md").read_text()
TESTS = sorted(set(re.findall(r"`(tests/[\w/]+\.py(?:::\w+)*)`", PAGE)))


def test_bounds_are_listed() -> None:
    assert len(TESTS) > 80


@pytest.mark.parametrize("name", TESTS)
def test_a_test_exists(name: str) -> None:
    file, *items = name.split("::")
    text = (ROOT / file).read_text()
    assert items or "def test_" in text or "TestCase" in text
    for item in items:
        found = re.search(rf"^ *(?:def|class) {item}\b", text, re.MULTILINE)
        assert found
        text = text[found.start() :]


def test_each_row_of_a_table_is_complete() -> None:
    for table in re.findall(r"(?:^\|.*\n)+", PAGE, re.MULTILINE):
        rows = [re.split(r"(?<!\\)\|", row)[1:-1] for row in table.splitlines()]
        assert {len(row) for row in rows} == {len(rows[0])}
        if rows[0][-1].strip() == "test":
            assert all(row[0].strip() and row[-1].strip() for row in rows)


def test_options_exist() -> None:
    known = {option.name for group in (*AGENT, *PROXY) for option in group.options}
    assert set(re.findall(r"`--([a-z-]+)", PAGE)) <= known
