"""The module json, as scripts for the original know it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hubble.policy import Limits, LuaPolicy, RegistrationRequest
from hubble.policy.lua import jsontext
from tests.policy.lua.conftest import Decide

JSON = 'local json = require("json")'
Evaluate = Callable[..., str]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("true", "true"),
        ("1", "1"),
        ("-10", "-10"),
        ("1.5", "1.5"),
        ("2^53", "9007199254740992"),
        ("1e20", "100000000000000000000"),
        ("1e21", "1e+21"),
        ("1e-7", "1e-7"),
        ("0.000001", "0.000001"),
        ("0.1", "0.1"),
        ("nil", "null"),
        ("{}", "[]"),
        ("{1, 2, 3}", "[1,2,3]"),
        ("{b = 1, a = {}, c = 'x'}", '{"a":[],"b":1,"c":"x"}'),
        ("{{1}, {x = false}}", '[[1],{"x":false}]'),
        (r"'a\"b\\c\n'", r'"a\"b\\c\n"'),
        (r"'<a href=\'x\'>&'", r'''"\u003ca href='x'\u003e\u0026"'''),
        (r"'caf\195\169'", '"café"'),
        (r"'\255\254'", '"\ufffd\ufffd"'),
        ("{a = nil}", "[]"),
    ],
)
def test_encode(evaluate: Evaluate, value: str, text: str) -> None:
    assert evaluate(f"json.encode({value})", JSON) == text


@pytest.mark.parametrize(
    ("value", "wrong"),
    [
        ("{1, 2, [10] = 3}", "cannot encode sparse array"),
        ("{[2] = 1}", "cannot encode sparse array"),
        ("{[1.5] = 1}", "cannot encode sparse array"),
        ("{1, 2, 3, name = 'Tim'}", "cannot encode mixed or invalid key types"),
        ("{name = 'Tim', [false] = 123}", "cannot encode mixed or invalid key types"),
        ("loop", "cannot encode recursively nested tables to JSON"),
        ("{loop}", "cannot encode recursively nested tables to JSON"),
        ("print", "cannot encode function to JSON"),
        ("{x = print}", "cannot encode function to JSON"),
        ("coroutine.create(print)", "cannot encode thread to JSON"),
        ("0/0", "cannot encode nan to JSON"),
        ("{1/0}", "cannot encode inf to JSON"),
    ],
)
def test_encode_refuses(evaluate: Evaluate, value: str, wrong: str) -> None:
    before = JSON + " local loop = {} loop.a = { loop } "
    assert evaluate(f"select('#', json.encode({value}))", before) == "2"
    assert evaluate(f"select(1, json.encode({value}))", before) == "nil"
    assert evaluate(f"select(2, json.encode({value}))", before).replace("-nan", "nan") == wrong


def test_a_table_used_twice_is_not_recursive(evaluate: Evaluate) -> None:
    assert evaluate("json.encode({t, t})", JSON + " local t = {1}") == "[[1],[1]]"


@pytest.mark.parametrize(
    ("text", "check"),
    [
        ("null", "v == nil"),
        ("true", "v == true"),
        ("-1.5e3", "v == -1500"),
        ('"x"', "v == 'x'"),
        ("[]", "type(v) == 'table' and next(v) == nil"),
        ("{}", "type(v) == 'table' and next(v) == nil"),
        ('[1,"two",[3],{"four":4}]', "v[1] == 1 and v[2] == 'two' and v[3][1] == 3 and v[4].four == 4"),
        ('{"a":{"b":[{"c":null,"d":false}]}}', "v.a.b[1].d == false and v.a.b[1].c == nil"),
        ("[1,null,3]", "v[1] == 1 and v[2] == nil and v[3] == 3"),
        ('{"1":"text key"}', "v[1] == nil and v['1'] == 'text key'"),
        (r'"caf\u00e9 \ud83d\ude00"', r"v == 'caf\195\169 \240\159\152\128'"),
        (r'"\ud800"', r"v == '\239\191\189'"),
        ('{"a":1,"a":2}', "v.a == 2"),
        ("123456789012345678901234567890", "v == 123456789012345678901234567890"),
        ("[" + ",".join(["[7]"] * 200) + "]", "#v == 200 and v[200][1] == 7"),
    ],
)
def test_decode(decide: Decide, text: str, check: str) -> None:
    decision = decide(
        f"{JSON} local v, wrong = json.decode([====[{text}]====]) assert(not wrong, wrong) return {check}"
    )
    assert decision.allowed, decision.detail


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[1,]",
        "{'a':1}",
        "nul",
        "1 2",
        "NaN",
        "Infinity",
        "-Infinity",
        "1e999",
        '"\t"',
        "[" * 100000,
        "\ufeff1",
    ],
    ids=range(13),
)
def test_decode_refuses(evaluate: Evaluate, text: str) -> None:
    before = f"{JSON} local v, wrong = json.decode([====[{text}]====])"
    assert evaluate("v", before) == "nil"
    assert evaluate("type(wrong) == 'string' and #wrong > 5", before) == "true"


def test_decode_wants_a_text(evaluate: Evaluate) -> None:
    assert evaluate("json.decode({})", JSON) == "script.lua:3: bad argument #1 to 'decode' (string expected, got table)"


def test_text_and_values_are_bounded(evaluate: Evaluate) -> None:
    assert (
        evaluate("select(2, json.decode(string.rep(' ', 200) .. '1'))", JSON, body=200) == "JSON of more than 200 bytes"
    )
    text = "'[' .. string.rep('0,', 100000) .. '0]'"
    assert evaluate(f"select(2, json.decode({text}))", JSON) == "the text has more than 50000 values"


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.integers(-(2**53), 2**53)
    | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=30,
)


def as_lua(value: object) -> object:
    """What is left of a value in Lua's tables: no nulls, and an empty one is an array."""
    if isinstance(value, dict):
        return {name: as_lua(each) for name, each in value.items() if each is not None} or []
    if isinstance(value, list):
        return [as_lua(each) for each in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def without_nulls(value: object) -> bool:
    if isinstance(value, dict):
        return all(without_nulls(each) for each in value.values())
    if isinstance(value, list):
        return all(each is not None and without_nulls(each) for each in value)
    return True


@pytest.fixture(scope="module")
def recoding(tmp_path_factory: pytest.TempPathFactory) -> LuaPolicy:
    """Decodes the key of a registration, and returns it encoded as its identity."""
    path = Path(tmp_path_factory.mktemp("json")) / "recode.lua"
    path.write_text(
        """
        local json = require("json")
        function register(request)
          local value, wrong = json.decode(request:key())
          if wrong then error(wrong) end
          return true, { identity = assert(json.encode(value)) }
        end
        """
    )
    return LuaPolicy(path, Limits(cpu=1.0))


@settings(deadline=None, max_examples=150)
@given(value=VALUES.filter(without_nulls))
def test_a_value_survives_both_ways(recoding: LuaPolicy, value: object) -> None:
    decision = recoding.register(RegistrationRequest(key=json.dumps(value)))
    assert decision.allowed, decision.detail
    assert as_lua(json.loads(decision.identity)) == as_lua(value)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_printed_exactly(value: float) -> None:
    assert float(jsontext.number(value)) == value


@given(st.text())
def test_a_text_is_quoted_so_that_any_parser_reads_it(text: str) -> None:
    quoted = jsontext.quote(text.encode("utf-8", "surrogatepass"))
    assert json.loads(quoted) == "".join("\ufffd" * 3 if "\ud800" <= c <= "\udfff" else c for c in text)
    assert not set(quoted) & set(b"<>&")


def test_flatten_refuses_what_lua_has_no_type_for() -> None:
    with pytest.raises(TypeError, match="cannot pass a object to Lua"):
        list(jsontext.flatten({"a": object()}))


def test_infinity_is_no_json() -> None:
    assert math.isinf(float("1e999"))
    with pytest.raises(ValueError, match="out of range"):
        jsontext.decode(b"1e999")
