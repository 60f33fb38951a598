"""Names that can be addressed and told apart, and those that cannot."""

from __future__ import annotations

import re

import pytest

from hubble.base.names import MAX_NAME, key_problem, name_problem, scripts, shown


@pytest.mark.parametrize(
    "name", ["office", "x" * MAX_NAME, "a b", "ü/#*?", "工作", "日本語カタカナひらがな", "café", "-", "🛰", "عربي"]
)
def test_a_name_that_can_be_told_apart_is_valid(name: str) -> None:
    assert name_problem(name) is None


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "is empty"),
        ("x" * (MAX_NAME + 1), "has 256 characters; a name has at most 255"),
        ("a:b", 'contains ":"'),
        ("a@b", 'contains "@"'),
        (" a", "begins or ends with a blank"),
        ("a ", "begins or ends with a blank"),
        ("e\u0301", "composed form"),
        *((f"a{character}b", "invisible or unassigned character U\\+") for character in "\0\t\n\x1b\x7f\x80\x85\x9f"),
        ("a\u00a0b", "U\\+00A0"),  # a blank that is none
        ("a\u00adb", "U\\+00AD"),  # soft hyphen
        ("a\u034fb", ""),
        ("a\u115fb", ""),
        ("a\u200bb", "U\\+200B"),  # zero width
        ("a\u200db", "U\\+200D"),
        ("a\u2028b", "U\\+2028"),
        ("a\u2029b", "U\\+2029"),
        ("a\u202eb", "U\\+202E"),  # right-to-left override
        ("a\u2066b", "U\\+2066"),
        ("a\u2800b", ""),  # a braille pattern without dots
        ("a\u3164b", ""),
        ("a\ufe0fb", ""),
        ("\ufeffa", "U\\+FEFF"),
        ("a\ud800b", "U\\+D800"),  # what an argument that is not UTF-8 becomes
        ("a\ue000b", "U\\+E000"),  # private use
        ("a\U000e0041b", "U\\+E0041"),  # a tag
        ("a\u0378b", "U\\+0378"),  # unassigned
    ],
)
def test_a_name_that_cannot_is_refused(name: str, problem: str) -> None:
    found = name_problem(name)
    assert found is not None
    assert re.search(problem, found), found
    assert found.isprintable()


@pytest.mark.parametrize("character", ["\0", "\r", "\n", "\x7f", "\x80", "\x9f"])
def test_a_key_has_no_control_characters(character: str) -> None:
    assert key_problem(f"a{character}b") == "contains a control character"
    assert key_problem("aücò:@ \u202e") is None
    assert key_problem("a\udcff") == "contains bytes that are not UTF-8"


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("paypal", set()),
        ("p\u0430ypal", {"LATIN", "CYRILLIC"}),
        ("\u03bfffice", {"LATIN", "GREEK"}),
        ("\u0440\u0430\u0443", {"CYRILLIC"}),
        ("café 7", {"LATIN"}),
        ("東京オフィスのoffice", {"CJK"}),
        ("東\u0430", {"CJK", "CYRILLIC"}),
    ],
)
def test_scripts(name: str, found: set[str]) -> None:
    assert scripts(name) == found


def test_what_is_shown_is_one_short_line() -> None:
    assert shown("office") == '"office"'
    assert shown('a"\n\u202e\ud800') == r'"a\"\n\u202e\ud800"'
    assert len(shown("x" * 5000)) < 80
