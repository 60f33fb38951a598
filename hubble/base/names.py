"""The rules for valid gateway names and keys. Agents, proxies and the wire share them."""

from __future__ import annotations

import re
import unicodedata

MAX_NAME = 255
"""The longest gateway name, in characters."""
_SURROGATE = re.compile(r"[\ud800-\udfff]")  # Python decodes command-line bytes that are not UTF-8 to these
_LONGEST_SHOWN = 60

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
# Invisible letters and marks: fillers, joiners and variation selectors. `isprintable` covers Cc, Cf, Zl and Zp.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
_EAST_ASIAN = frozenset({"CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "HANGUL", "BOPOMOFO"})


def name_problem(name: str) -> str | None:
    """Return why `name` is invalid as a gateway's name, as the end of a sentence, or None if it is valid.

    A name is invalid if a rule cannot contain it or a reader could mistake it for another: it contains control,
    format, separator, private-use or unassigned characters, ":" or "@", begins or ends with a blank, or is not in the
    composed form (NFC) of Unicode.
    """
    if not name:
        return "is empty"
    if len(name) > MAX_NAME:
        return f"has {len(name)} characters; a name has at most {MAX_NAME}"
    for character in name:
        if character in ":@":
            return f'contains "{character}", which separates the parts of a rule'
        if not character.isprintable() or _INVISIBLE.match(character):
            return f"contains the invisible or unassigned character {code_point(character)}"
    if name != name.strip():
        return "begins or ends with a blank"
    if not unicodedata.is_normalized("NFC", name):
        return "is not in the composed form (NFC) of Unicode"
    return None


def key_problem(key: str) -> str | None:
    """Return why `key` is invalid, as the end of a sentence that does not contain it, or None if it is valid."""
    if CONTROL.search(key):
        return "contains a control character"
    return "contains bytes that are not UTF-8" if _SURROGATE.search(key) else None


def scripts(name: str) -> frozenset[str]:
    """Return the scripts of the letters in `name`: the first words of their Unicode names, such as "CYRILLIC".

    Chinese, Japanese and Korean scripts are written together and mixed with Latin: together they count as one script.
    """
    if name.isascii():
        return frozenset()
    found = {unicodedata.name(letter, "UNKNOWN").split(" ")[0] for letter in name if letter.isalpha()}
    if found & _EAST_ASIAN:
        found = found - _EAST_ASIAN - {"LATIN"} | {"CJK"}
    return frozenset(found)


def shown(text: str) -> str:
    """Return `text` quoted for a log or a terminal: in one line, invisible characters escaped, truncated if long."""
    cut = text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."
    return '"' + "".join(_escaped(character) for character in cut) + '"'


def code_point(character: str) -> str:
    """Return a visible character in quotes, and the code point (such as U+202E) of any other."""
    return f'"{character}"' if character.isprintable() and character > " " else f"U+{ord(character):04X}"


def _escaped(character: str) -> str:
    if character == '"' or not character.isprintable():
        return character.encode("unicode_escape").decode("ascii") if character != '"' else '\\"'
    return character
