"""string.find, match, gmatch and gsub give what Lua's own give, in C or in Lua."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lupa import lua51

import hubble.policy.lua

COMPARE = b"""
local patterns, strings, steps = ...
local texts = { check = function() end, text_of = function(value)
  if type(value) == "number" or type(value) == "string" then return tostring(value) end
end }
local lib = { look = function() end, settled = function() end, steps = steps, texts = texts, made = function(text)
  return text
end, raw = {
  error = error, type = type, tostring = tostring, unpack = unpack, pcall = pcall, byte = string.byte,
  char = string.char, sub = string.sub, concat = table.concat, setmetatable = setmetatable, floor = math.floor,
  tonumber = tonumber, find = string.find, match = string.match, gmatch = string.gmatch, gsub = string.gsub } }
lib.patterns = loadstring(patterns, "=patterns")(lib)
local ours = loadstring(strings, "=strings")(lib)

local function shown(...)
  local out = {}
  for i = 1, select("#", ...) do out[i] = type((select(i, ...))) .. ":" .. tostring((select(i, ...))) end
  return table.concat(out, "|")
end

local function all(iterator)
  local out = {}
  for a, b, c in iterator do
    out[#out + 1] = shown(a, b, c)
    if #out > 200 then break end
  end
  return table.concat(out, ";")
end

local function compare(name, ...)
  local function run(f, ...)
    local result = shown(pcall(f, ...))
    -- Where an error was raised is not compared.
    return (string.gsub(result, "^(boolean:false|string:)[^|]-: ", "%1"))
  end
  if name == "gmatch" then
    local function of(gmatch) return function(...) return all(gmatch(...)) end end
    return run(of(string.gmatch), ...), run(of(ours.gmatch), ...)
  end
  return run(string[name], ...), run(ours[name], ...)
end

local function doubled(...) return shown(...) .. shown(...) end

return compare, { a = "x", b = 5, ["("] = false }, doubled
"""

SUBJECTS = st.text(st.sampled_from("aab(%.x1 \n]-["), max_size=14)
LITERALS = st.sampled_from([*"abx1 ", "%(", "%)", "%.", "%%", "%]", "%-", "."])
CLASSES = st.sampled_from(
    ["%a", "%d", "%s", "%w", "%A", "%p", "[ab]", "[^a]", "[a-x]", "[%w_]", "[]]", "[^]%d]", "[a-]", "%z"]
)
SINGLES = st.builds(lambda item, times: item + times, LITERALS | CLASSES, st.sampled_from(["", "", "*", "+", "-", "?"]))
ITEMS = SINGLES | st.sampled_from(["%b()", "%bab", "%f[%a]", "%f[^a]", "()", "%1", "%2", "$", "^"])
SEQUENCES = st.lists(ITEMS, max_size=6).map("".join)
PATTERNS = st.builds(
    lambda start, parts, end: start + "".join(parts) + end,
    st.sampled_from(["", "", "^"]),
    st.lists(SEQUENCES | SEQUENCES.map(lambda inner: f"({inner})"), max_size=3),
    st.sampled_from(["", "", "$"]),
)
REPLACEMENTS = st.sampled_from(["", "-", "<%0>", "%1%1", "%2", "%%", "a%", "%x"])

Compare = Callable[..., tuple[bytes, bytes]]


def load(steps: int) -> tuple[Compare, object, object]:
    lua = lua51.LuaRuntime(encoding=None, unpack_returned_tuples=True)
    here = Path(hubble.policy.lua.__file__).parent
    parts = [(here / name).read_bytes() for name in ("patterns.lua", "strings.lua")]
    return lua.execute(COMPARE, *parts, steps)


@pytest.fixture(scope="module", params=[0, 10**6], ids=["in Lua", "in C if cheap"])
def lua(request: pytest.FixtureRequest) -> tuple[Compare, object, object]:
    return load(request.param)


def assert_same(results: tuple[bytes, bytes]) -> None:
    theirs, ours = results
    assert ours == theirs


@settings(deadline=None, max_examples=400)
@given(subject=SUBJECTS, pattern=PATTERNS, init=st.none() | st.integers(-20, 20), plain=st.booleans())
def test_find(lua: tuple[Compare, object, object], subject: str, pattern: str, init: int | None, plain: bool) -> None:
    assert_same(lua[0](b"find", subject.encode(), pattern.encode(), init, plain))


@settings(deadline=None, max_examples=400)
@given(subject=SUBJECTS, pattern=PATTERNS, init=st.none() | st.integers(-20, 20))
def test_match(lua: tuple[Compare, object, object], subject: str, pattern: str, init: int | None) -> None:
    assert_same(lua[0](b"match", subject.encode(), pattern.encode(), init))


@settings(deadline=None, max_examples=200)
@given(subject=SUBJECTS, pattern=PATTERNS)
def test_gmatch(lua: tuple[Compare, object, object], subject: str, pattern: str) -> None:
    assert_same(lua[0](b"gmatch", subject.encode(), pattern.encode()))


@settings(deadline=None, max_examples=400)
@given(subject=SUBJECTS, pattern=PATTERNS, replacement=REPLACEMENTS, limit=st.none() | st.integers(-1, 5))
def test_gsub(
    lua: tuple[Compare, object, object], subject: str, pattern: str, replacement: str, limit: int | None
) -> None:
    compare, table, function = lua
    for value in (replacement.encode(), table, function, 7):
        assert_same(compare(b"gsub", subject.encode(), pattern.encode(), value, limit))


@pytest.mark.parametrize(
    ("subject", "pattern"),
    [
        ("  trimmed  ", "^%s*(.-)%s*$"),
        ("key = value", "^(%w+)%s*=%s*(%w+)$"),
        ("192.168.10.7", "^(%d+)%.(%d+)%.(%d+)%.(%d+)$"),
        ("THE (quick) fox", "%((%a+)%)"),
        ('say "hi" and "bye"', "([\"'])(.-)%1"),
        ("f(a(b)c)d", "%b()"),
        ("THE (quick) fox", "%f[%a]%a+"),
        ("a,b,,c", "([^,]*)"),
        ("a\0b", "a%zb"),
        ("a\0b", "a\0c"),
        ("x^y", "x^y"),
        ("cost$", "$"),
    ],
)
def test_patterns_people_write(lua: tuple[Compare, object, object], subject: str, pattern: str) -> None:
    for name in (b"find", b"match", b"gmatch"):
        assert_same(lua[0](name, subject.encode(), pattern.encode()))
    assert_same(lua[0](b"gsub", subject.encode(), pattern.encode(), b"<%0>"))


@pytest.mark.parametrize("size", [0, 1, 5, 100_000, 3_000_000])
def test_plain_find_in_pieces(size: int) -> None:
    compare = load(1000)[0]
    subject = b"a" * size + b"needle" + b"b" * size
    for init in (1, size, size + 1, size + 2, -7, -1):
        assert_same(compare(b"find", subject, b"needle", init, True))
        assert_same(compare(b"find", subject, b"absent", init, True))


@pytest.mark.parametrize(
    "pattern", ["%", "[a", "[", "[^", "[%", "%f", "%fa", "%b", "%bx", "(", "(()", ")", "a)", "%0", "%9", "(" * 40]
)
def test_malformed_patterns_raise(lua: tuple[Compare, object, object], pattern: str) -> None:
    """Also where C would not have got as far as the mistake: so did the original."""
    _, ours = lua[0](b"match", b"aaa", pattern.encode())
    assert ours.startswith(b"boolean:false|")


def test_a_long_pattern_is_refused() -> None:
    _, ours = load(10**6)[0](b"find", b"a" * 100_000, b"a?" * 40_000)
    assert b"the pattern is longer than 65536 bytes" in ours
