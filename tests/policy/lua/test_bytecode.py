"""Code rewritten before it runs: it cannot write past the stack, and `..` means what it means in Lua."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lupa import lua51

from hubble.policy.lua import bytecode, runtime
from tests.policy.lua.conftest import Decide
from tests.support.httpservers import python_path

# Calls a function with 100 parameters and `...` from every depth, so that some call finds the stack nearly full.
DEEP_VARARGS = """
local names, values = {}, {}
for i = 1, 100 do names[i], values[i] = "p" .. i, "p" .. i .. " = ..." end
local f = assert(loadstring("return function(" .. table.concat(names, ",") .. ", ...) p100 = ... return p100 end"))()
local function deep(n)
  if n == 0 then local last = f() return last end
  local last = deep(n - 1)
  return last
end
for n = 1, 400 do coroutine.wrap(function() deep(n) end)() end
"""


def test_parameters_before_dots_do_not_pass_the_stack() -> None:
    """In a process of its own: without the rewriting, it dies of memory that it corrupted."""
    code = f"""
import tests.conftest
from hubble.policy import ConnectionRequest, FailClosed, Limits, LuaPolicy
import tempfile
for _ in range(20):
    with tempfile.NamedTemporaryFile(suffix=".lua") as file:
        file.write(b'function connect() ' + {DEEP_VARARGS!r}.encode() + b' return true end')
        file.flush()
        decision = FailClosed(LuaPolicy(file.name, Limits(cpu=5.0))).connect(ConnectionRequest())
        assert decision.allowed, decision.detail
"""
    subprocess.run([sys.executable, "-c", code], env=python_path(), check=True, timeout=60)


@pytest.mark.parametrize(
    ("lua", "result"),
    [
        ("local function f(a, b, c, ...) return a, b, c, ... end return g(f(1, 2, 3, 4, nil, 6))", "1,2,3,4,nil,6"),
        ("local function f(a, b, c, ...) local d, e = ... return c, d, e end return g(f(1, 2, 3, 4))", "3,4,nil"),
        ("local function f(a, b, c, ...) return select('#', ...), ... end return g(f(1))", "0"),
        ("local function f(a, b, c, ...) return { ... }, c end local t = f(1, 2, 3, 4, 5) return g(#t, t[2])", "2,5"),
        ("local function f(a, b, c, ...) return (...) end return g(f(1, 2, 3, 4, 5))", "4"),
        ("local function f(a, b, c, ...) return function() return c end, ... end return g(f(1, 2, 3, 4)())", "3"),
        ("local function f(a, b, c, ...) while true do if a > 9 then return a, ... end a = a + c end end\n"
         "return g(f(1, 2, 3, 'x'))", "10,x"),
        ("local function f(a, b, c, ...) return arg == nil, ... end return g(f(1, 2, 3, 4))", "true,4"),
        ("local function f(a, b, c, ...) return arg.n, arg[1] end return g(f(1, 2, 3, 4))", "1,4"),
        ("local o = {} function o:f(a, b, ...) return self == o, b, ... end return g(o:f(1, 2, 3))", "true,2,3"),
    ],
)  # fmt: skip
def test_parameters_before_dots(decide: Decide, lua: str, result: str) -> None:
    join = """local function g(...)
      local words = {}
      for i = 1, select("#", ...) do words[i] = tostring((select(i, ...))) end
      return true, { detail = table.concat(words, ",") }
    end
    """
    assert decide(join + lua).detail == result


@pytest.mark.parametrize("code", [b"", b"\x1bLua", b"\x1bLuaR" + bytes(20), b"nonsense"])
def test_other_code_is_refused(code: bytes) -> None:
    with pytest.raises(bytecode.BytecodeError):
        bytecode.rewritten(code)


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("'a' .. 'b'", "ab"),
        ("'a' .. 1 .. 2.5", "a12.5"),
        ("1 .. 2", "12"),
        ("'a' .. 'b' .. t", "aconcat(b,t)"),  # a table's own operator gets what stands beside it
        ("t .. 'a' .. 'b'", "concat(t,ab)"),
        ("'x' .. (t .. 'a')", "xconcat(t,a)"),
        ("t .. t", "concat(t,t)"),
        ("#('a' .. ('b' .. 'c') .. 'd')", "4"),
        ("('a' .. 'b' == 'ab') and 'yes' .. '' or 'no'", "yes"),
        ("f('a' .. 'b', 'c' .. 'd')", "ab-cd"),
        ("({ 'a' .. 1, 'b' .. 2 })[2]", "b2"),
        ("(function(...) return ... .. 'z' end)('y')", "yz"),
        ("loop()", "1,2,3,while,"),
    ],
)
def test_concatenation(evaluate: Any, expression: str, value: str) -> None:
    before = """
    local function word(v) return type(v) == "table" and "t" or v end
    local t = setmetatable({}, { __concat = function(a, b)
      if type(b) == "string" and b:find("^concat") then return b .. word(a) end
      return "concat(" .. word(a) .. "," .. word(b) .. ")"
    end })
    local function f(a, b) return a .. "-" .. b end
    local function loop()
      local text = ""
      for i = 1, 3 do text = text .. i .. "," end
      while #text < 10 do text = text .. "while" .. "," end
      return text
    end
    """
    assert evaluate(expression, before) == value


@pytest.mark.parametrize(
    ("lua", "detail"),
    [
        ("local x x = 'a' .. x", "script.lua:2: attempt to concatenate a nil value"),
        ("return {} .. 'a'", "script.lua:2: attempt to concatenate a table value"),
        ("return 'a' .. 'b' .. true .. 'c'", "script.lua:2: attempt to concatenate a boolean value"),
        ("\nlocal n = 5 n(1)", "script.lua:3: attempt to call a number value"),
    ],
)
def test_errors(decide: Decide, lua: str, detail: str) -> None:
    assert decide(lua).detail == detail


WORDS = st.sampled_from(
    ["'a'", "'b'", "1", "x", "y", "#x", "(x == 'p' and 'q' or y)", "f(x)", "f(y .. x)", "tostring(x)"]
)
CHAINS = st.recursive(WORDS, lambda inner: st.lists(inner, min_size=2, max_size=4).map(lambda e: f"({' .. '.join(e)})"))
CONDITIONS = st.builds("{} {} {}".format, CHAINS, st.sampled_from(["==", "~=", "<"]), CHAINS)


def _indented(kind: str) -> Any:
    return st.builds(kind.format, CONDITIONS, CHAINS, CHAINS)


STATEMENTS = st.one_of(
    CHAINS.map("x = cut({})".format),
    CHAINS.map("local y = x .. {} x = cut(y)".format),
    _indented("if {0} then x = cut({1}) else y = cut({2}) end"),
    _indented("for i = 1, 3 do if {0} then break end x = cut(i .. {1} .. x) y = cut({2}) end"),
    _indented("for _, v in ipairs({{ {1}, {2} }}) do x = cut(v .. x) if {0} then y = cut(v) end end"),
    _indented("local n = 0 repeat n = n + 1 y = cut(n .. {1}) until n > 2 or {0} x = cut({2})"),
    _indented("local g = function(a, ...) return a .. select('#', ...) .. {1} end x = cut({2} .. g(x, y, {0}))"),
)


@given(st.lists(STATEMENTS, min_size=1, max_size=6))
def test_rewritten_code_does_what_it_did(statements: list[str]) -> None:
    body = "\n".join(f"do {each} end" for each in statements)
    source = f"local x, y = 'p', 'q' local function f(v) return '<' .. v .. '>' end\n{CUT}{body}\nreturn x .. '|' .. y"
    assert _result(source, rewrite=True) == _result(source, rewrite=False)


CUT = "local function cut(text) return tostring(text):sub(1, 20) end\n"
PRELUDE = b"""
local magic, limit = ...
debug.setmetatable(0, { __call = function(number, ...)
  assert(number == magic)
  local texts = { ... }
  for i, text in ipairs(texts) do texts[i] = tostring(text) end
  return table.concat(texts)
end })
"""


def _result(source: str, *, rewrite: bool) -> object:
    code = runtime._compile(source.encode(), "@x")
    lua = lua51.LuaRuntime(encoding=None)
    lua.execute(PRELUDE, bytecode.CONCATENATE)
    run = lua.execute(b"return function(code) local ok, text = pcall(loadstring(code)) return ok and text end")
    return run(bytecode.rewritten(code) if rewrite else code)
