"""Functions of Lua 5.1 that C does not check, or that take hours: none ends the process, or holds it for long."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.policy.lua.conftest import Decide
from tests.support.httpservers import python_path

CALLS = [
    "unpack({}, 0, 2^31-1)", "unpack({}, -2^31, 2^31-1)", "unpack({}, 1, 1e308)", "unpack({}, -1/0, 1/0)",
    "unpack({}, 0/0, 1)", "unpack({}, 1, 8000)", "select(-2^31, 1)", "string.byte(('x'):rep(9000), 1, -1)",
    "table.insert({ 1 }, -2^31, 0)", "table.insert({ 1 }, 2^32 - 5, 0)", "table.remove({ 1 }, -2^31)",
    "table.concat({}, '', -2^31, 2^31-1)", "table.concat({}, '', 1, 1e308)",
    "table.sort({ 3, 1, 2 }, function() return true end)",
    "debug.traceback('x', -2^31)", "debug.traceback('x', 2^31)", "debug.traceback(coroutine.create(print), 'x', -5)",
    "string.rep('x', 2^31)", "string.rep('', 1e308)", "string.rep('x', 1/0)", "string.format('%99.99f', 1e308)",
    "string.format('%q', ('\\0'):rep(300000))", "string.format('%' .. ('0'):rep(500) .. 'd', 1)",
    "('x'):rep(1e6):gsub('', ('y'):rep(1e6))", "('x'):rep(1e6) < ('x'):rep(1e6) .. 'y'", "('9'):rep(1e6) + 1",
    "loadstring(('('):rep(16000))", "loadstring(string.char(27) .. 'Lua')", "os.date(('%c'):rep(500), 2^62)",
    "os.time({ year = 2^31, month = -2^31, day = 1 })", "math.random(-2^31, 2^31)", "error('x', -2^31)",
    "setfenv(-1, {})", "getfenv(2^31)", "tonumber(('z'):rep(1e6), 36)", "string.find('a', ('('):rep(300))",
]  # fmt: skip

RUN = """
import sys
import tests.conftest
from hubble.policy import ConnectionRequest, FailClosed, Limits, LuaPolicy
policy = FailClosed(LuaPolicy(sys.argv[1], Limits(cpu=5.0)))
decision = policy.connect(ConnectionRequest())
print(decision.detail)
"""


def run(path: Path, calls: list[str]) -> str:
    """Makes the calls in a process of its own; fails if that is killed, or takes longer than a minute."""
    lines = [
        f"pcall(function() return {call} end) pcall(coroutine.wrap(function() return {call} end))" for call in calls
    ]
    path.write_text("function connect()\n" + "\n".join(lines) + "\nreturn true, { detail = 'survived' }\nend")
    command = [sys.executable, "-c", RUN, str(path)]
    return subprocess.run(command, env=python_path(), check=True, timeout=60, capture_output=True, text=True).stdout


@pytest.mark.parametrize("call", [call for call in CALLS if not call.startswith("unpack")])
def test_each_alone(decide: Decide, call: str) -> None:
    """Each ends within the usual limit of CPU, or by it. Those that would end this process are below."""
    detail = decide(f"pcall(function() return {call} end) return true").detail
    assert detail in ("", "the script used more than 50 ms of CPU")


def test_all(tmp_path: Path) -> None:
    calls = [call for call in CALLS if "gsub" not in call]  # only the limit of CPU ends that one
    assert run(tmp_path / "all.lua", calls) == "survived\n"


def test_functions_with_arguments_at_random(tmp_path: Path) -> None:
    """The same ones each time, so that a failure can be told from a change."""
    choose = random.Random(5).choice
    functions = [
        "unpack",
        "select",
        "next",
        "rawset",
        "rawget",
        "tonumber",
        "tostring",
        "string.byte",
        "string.char",
        "string.find",
        "string.format",
        "string.gsub",
        "string.match",
        "string.rep",
        "string.sub",
        "table.concat",
        "table.insert",
        "table.remove",
        "table.maxn",
        "table.sort",
        "math.random",
        "math.ldexp",
        "os.date",
        "os.time",
        "debug.traceback",
        "loadstring",
        "getfenv",
        "coroutine.wrap",
    ]
    values = [
        "0",
        "1",
        "-1",
        "2^31-1",
        "2^31",
        "-2^31",
        "-2^31-1",
        "2^32",
        "2^53",
        "1e308",
        "-1e308",
        "1/0",
        "-1/0",
        "0/0",
        "0.5",
        "nil",
        "true",
        "{}",
        "{1,2,3}",
        '""',
        '"a"',
        '"%d"',
        '"%b"',
        '"[a-"',
        '"(.)%1"',
        '"\\0"',
        "print",
        "_G",
        '("a"):rep(1e5)',
        "function(...)return(...)end",
    ]
    calls = [f"{choose(functions)}({', '.join(choose(values) for _ in range(i % 5))})" for i in range(400)]
    assert run(tmp_path / "random.lua", calls) == "survived\n"
