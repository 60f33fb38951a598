"""The prose that people read: documents, docstrings, comments, and the texts in the code.

A program finds only habits; a reader must find the rest.
"""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
MODULES = sorted((ROOT / "hubble").rglob("*.py"))
LONGEST_SENTENCE = 30
"""Words in a sentence of a document. Aim for fewer than 25."""

BEFORE_WHO = r"(?:^|[.,:;(] |\b(?:from|of|to|by|with|for|and|or|but|is|than|as|if|when|that) )"
WHO = "wonders|looks|asks|waits|speaks|reads|comes|listens|knows|wants|would|dials|says|has|is|does|may|must|shakes"
THINGS = "link|links|worker|name|number|file|address|size|rule|key|text|reason|gateway"
DONE = "sent|received|read|written|kept|asked|said|told|meant|given|known|there|left|wrong"

HABITS = {
    r"\bcannot be meant\b": "is invalid",
    r"\blooking on\b": "monitoring",
    BEFORE_WHO + rf"who (?:{WHO})\b": "name the subject",  # "an attacker who reads both" is good English
    r"(?:^|[.:;] )Who\b(?! (?:is|are|may|can|does|do) [^.]*\?)": "name the subject",
    r"\bwhoever\b": "name the subject",
    r"\b(?:any|some)body\b": "anyone, someone, or the name of the subject",
    r"\bnobody\b": "no one, or turn the sentence round",
    r"\bmay stand\b": "can be, can stay",
    r"\bno more: ": "no longer; turn the sentence round",
    rf"\b(?:is|are|was|were) no (?:{THINGS})\b": "is not a",
    r"\bfor ever\b": "forever",
    r"\bof late\b": "recently",
    r"\bhow it goes\b": "how it works",
    r"\bby different ports\b": "",
    r"\boperators neither\b": "",
    r"\bis to be had\b": "is available",
    r"\bgoes before\b": "takes precedence",
    r"\bin order, or\b": "",
    r"\b(?:has|have) nothing to do\b": "does not concern",
    r"\bis of no use\b": "is useless",
    r"\bis demanded\b": "",
    r"\btells? (?:of|that)\b": "reports",
    r"\bit is so\b": "",
    r"(?<!twice )\bas many as there are\b(?! \w)": "",
    r"\b(?:is|are) told (?:of|that|so)\b": "receives, reports, gets",
    r"\bgo(?:es)? on\b": "continue, resume",
    r"\bin force now\b": "now in force",
    r"\bone of one's own\b": "your own",
    r"\bof (?:its|their|one's) own\b(?= and)": "",
    rf"\bwhat (?:is|was) (?:{DONE})\b": "name the thing",
    r"\ball that\b": "everything that, or name the thing",
    r"\bbegins? anew\b": "restarts",
    r"\banew\b": "again",
    r"\bgives way\b": "yields",
    r"\bheed\b": "obey, handle",
    r"\bwherefrom\b|\bwhereto\b": "from where, to where",
}


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """The line and text of each comment and string of a module, or of each paragraph of a document."""
    if path.suffix == ".py":
        for token in tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline):
            if token.type in (tokenize.COMMENT, tokenize.STRING):
                yield token.start[0], token.string
        return
    yield from paragraphs(path.read_text(encoding="utf-8"))


def paragraphs(text: str) -> Iterator[tuple[int, str]]:
    """The prose of a Markdown document: no code, no tables, no links' targets."""
    text = re.sub(r"^```.*?^```", lambda block: "\n" * block[0].count("\n"), text, flags=re.M | re.S)
    lines = [("" if line.startswith(("    ", "|", "#")) else line) for line in text.splitlines()]
    number = 0
    while number < len(lines):
        start = number
        while (
            number < len(lines)
            and lines[number].strip()
            and (number == start or not re.match(r" *(?:[-*]|\d+\.) ", lines[number]))
        ):
            number += 1
        if number == start:
            number += 1
            continue
        prose = " ".join(lines[start:number])
        yield start + 1, re.sub(r"\]\([^)]*\)", "]", re.sub(r"`[^`]*`", "CODE", prose))


@pytest.mark.parametrize("path", [*DOCUMENTS, *MODULES], ids=lambda path: str(path.relative_to(ROOT)))
def test_no_habit_of_another_language(path: Path) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {match[0].strip()!r}" + (f": write {better}" if better else "")
        for line, text in texts(path)
        for habit, better in HABITS.items()
        for match in re.finditer(habit, text, re.M)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_sentences_are_short(path: Path) -> None:
    if path.name == "CHANGELOG.md":
        pytest.skip("a list")
    long = [
        f"{path.name}:{line}: {len(sentence.split())} words: {sentence[:90]}..."
        for line, paragraph in paragraphs(path.read_text(encoding="utf-8"))
        for sentence in re.split(r"(?<=[.?!:;])\s+", paragraph)
        if len(sentence.split()) > LONGEST_SENTENCE
    ]
    assert not long, "\n".join(long)


def test_a_habit_is_found() -> None:
    assert any(re.search(habit, "A rule that cannot be meant is said in one line.") for habit in HABITS)
    assert list(paragraphs("a `b c` d\n\n    code\n\n- one\n- two\n")) == [(1, "a CODE d"), (5, "- one"), (6, "- two")]
