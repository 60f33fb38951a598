"""Each limit, by a script that only that limit stops. Take the limit out, and its test fails or hangs."""

from __future__ import annotations

import gc
import gzip
import itertools
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import gevent
import pytest
from lupa import lua51

from hubble.policy import AUTHORIZATION_ERROR, Decision, FailClosed
from hubble.policy.lua.shared import LineAllowance
from tests.policy.lua.conftest import REQUEST, Decide, Make
from tests.support.httpservers import dripping

HTTP = 'local http = require("http")'
CPU = "the script used more than 50 ms of CPU"
MEMORY = "not enough memory"


HELD = 0.25
"""Seconds of CPU; a slice takes a few milliseconds, but a busy machine makes each instruction slower."""


@contextmanager
def hub_held() -> Iterator[list[float]]:
    """How long, in seconds of this thread's CPU, a greenlet that always wants to run was kept from it each time.

    CPU and not the clock: what other processes of the machine do is no concern of these tests.
    """
    held: list[float] = []

    def watch() -> None:
        while True:
            before = time.thread_time()
            gevent.sleep(0.001)
            held.append(time.thread_time() - before)

    watcher = gevent.spawn(watch)
    gevent.sleep(0.01)
    held.clear()
    try:
        yield held
        gevent.sleep(0.01)
    finally:
        watcher.kill()


def assert_denied(decision: Decision, detail: str) -> None:
    assert (decision.allowed, decision.error, decision.reason) == (False, True, AUTHORIZATION_ERROR)
    assert detail in decision.detail


class TestCpu:
    @pytest.mark.parametrize(
        "lua",
        {
            "loop": "while true do end",
            "in pcall": "while true do pcall(function() while true do end end) end",
            "after pcall": "pcall(function() while true do end end) return true",
            "in an error handler": "xpcall(error, function() while true do end end) return true",
            "error handler of the limit": "xpcall(function() while true do end end, function() while true do end end)",
            "in a coroutine": "coroutine.wrap(function() while true do end end)()",
            "in many coroutines": """while true do
                coroutine.resume(coroutine.create(function() while true do end end)) end""",
            "in a coroutine's pcall": """coroutine.resume(coroutine.create(function()
                pcall(function() while true do end end) end)) return true""",
            "in a metamethod": "return setmetatable({}, {__index = function() while true do end end}).x",
            "in __tostring of an error": "error(setmetatable({}, {__tostring = function() while true do end end}))",
            "in a load reader": "load(function() while true do end end) return true",
            "in gsub": "string.gsub('a', 'a', function() while true do end end) return true",
            "in sort": "table.sort({3, 2, 1}, function() while true do end end) return true",
            "in the sort of one list": "while true do table.sort({3, 2, 1}) end",
            "recursion by tail calls": "local function f() return f() end return f()",
            "json": 'local json = require("json") while true do json.encode({json.decode("[1,2,3]")}) end',
            "logging": "while true do log.debug('x') end",
        }.values(),
    )
    def test_endless_computing(self, decide: Decide, lua: str) -> None:
        with gevent.Timeout(5), hub_held() as held:
            started = time.thread_time()
            decision = decide(lua)
            took = time.thread_time() - started
        assert_denied(decision, CPU)
        assert took < 0.5
        assert max(held) < HELD

    @pytest.mark.parametrize(
        "lua",
        {
            "backtracking": 'return string.find(string.rep("a", 50000), string.rep(".-", 20) .. "b")',
            "short subject": 'return string.find(string.rep("a", 30), string.rep("a?", 30) .. string.rep("a", 30))',
            "match": 'return string.match(string.rep("a", 50000), "(.*)(.*)(.*)(.*)b")',
            "gmatch": 'for _ in string.gmatch(string.rep("a", 50000), ".-.-.-.-b") do end',
            "gsub": 'return string.gsub(string.rep("a", 50000), ".-.-.-.-b", "")',
            "gsub's result": 'return string.gsub(string.rep("a", 60000), "", string.rep("b", 60000))',
            "plain find": 'return string.find(string.rep("a", 1000000), string.rep("a", 500000) .. "b", 1, true)',
            "balance": 'return string.find(string.rep("(", 100000), "%b()")',
            "from the request": "return string.find(string.rep('a', 1000), string.rep(request:key(), 30) .. 'b')",
        }.values(),
    )
    def test_pattern_bombs(self, decide: Decide, lua: str) -> None:
        with gevent.Timeout(10), hub_held() as held:
            started = time.thread_time()
            decision = decide(lua, request=replace(REQUEST, key=".-"))
            took = time.thread_time() - started
        assert_denied(decision, "")
        assert decision.detail.startswith((CPU, MEMORY))
        assert took < 0.5
        assert max(held) < HELD

    def test_a_long_sort(self, decide: Decide) -> None:
        """In C it would be one call; some lists make it quadratic besides."""
        lua = "local list = {} for i = 1, 500000 do list[i] = math.random() end table.sort(list) return true"
        with hub_held() as held:
            assert_denied(decide(lua, cpu=0.3), "300 ms of CPU")
        assert max(held) < HELD

    @pytest.mark.parametrize("f", ["upper", "lower", "reverse"])
    def test_long_texts(self, decide: Decide, f: str) -> None:
        """Each call takes so long that it is looked at by itself."""
        with hub_held() as held:
            assert_denied(decide(f"local s = string.rep('a', 1000000) while true do s:{f}() end", cpu=0.5), "500 ms")
        assert max(held) < HELD / 4

    @pytest.mark.parametrize(
        ("lua", "wrong"),
        [
            ("os.date(string.rep('%c', 1000))", "the format of os.date is too long"),
            ("assert(loadstring(string.rep('x = 1 ', 20000)))", "more than 16384 bytes of Lua"),
            ("assert(load(function() return string.rep('x = 1 ', 1000) end))", "more than 16384 bytes of Lua"),
        ],
    )
    def test_what_c_would_take_long_for(self, decide: Decide, lua: str, wrong: str) -> None:
        assert_denied(decide(lua), wrong)

    def test_the_limit_is_an_option(self, decide: Decide) -> None:
        lua = "local n = 0 for i = 1, 3000000 do n = n + i end return true"
        assert_denied(decide(lua, cpu=0.005), "the script used more than 5 ms of CPU")
        assert decide(lua, cpu=5.0).allowed

    def test_waiting_is_not_computing(self, decide: Decide) -> None:
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
        with dripping([b"", answer], pause=0.2) as server:
            busy = gevent.spawn(lambda: sum(range(3_000_000)))
            decision = decide(f'{HTTP} return http.get("{server.url}").status_code == 200', cpu=0.02)
            busy.get()
        assert decision.allowed, decision.detail

    def test_others_run_meanwhile(self, decide: Decide) -> None:
        with hub_held() as held:
            assert_denied(decide("while true do end", cpu=0.5), "500 ms of CPU")
        assert len(held) > 20

    @pytest.mark.parametrize("n", [1000, 20000])
    def test_deep_recursion_is_an_ordinary_error(self, decide: Decide, n: int) -> None:
        lua = f"local function f(n) if n > 0 then return 1 + f(n - 1) end return 0 end return f({n}) == {n}"
        decision = decide(lua)
        assert decision.allowed or "stack overflow" in decision.detail

    def test_nested_coroutines_are_an_ordinary_error(self, decide: Decide) -> None:
        lua = "local function f() coroutine.wrap(f)() end local _, text = pcall(f) error(text:sub(-16), 0)"
        assert_denied(decide(lua), "C stack overflow")


class TestMemory:
    @pytest.mark.parametrize(
        "lua",
        {
            "texts": "local t = {} for i = 1, 1e9 do t[i] = string.rep('x', 100000) .. i end",
            "tables": "local t = {} for i = 1, 1e9 do t[i] = {} end",
        }.values(),
    )
    def test_growing_for_ever(self, decide: Decide, lua: str) -> None:
        with gevent.Timeout(10):
            assert_denied(decide(lua, cpu=5.0), MEMORY)

    def test_growing_for_ever_in_pcall(self, decide: Decide) -> None:
        lua = "while true do pcall(function() local s = 'x' while true do s = s .. s end end) end"
        with gevent.Timeout(10), hub_held() as held:
            assert_denied(decide(lua), CPU)
        assert max(held) < 0.25

    def test_the_limit_is_an_option(self, decide: Decide) -> None:
        lua = "local t = {} for i = 1, 100000 do t[i] = i end return #t == 100000"
        assert_denied(decide(lua, memory=1_000_000), MEMORY)
        assert decide(lua, memory=10_000_000).allowed

    def test_what_python_sends_when_memory_is_short(self, decide: Decide) -> None:
        """lupa would leave Python by a long jump, and end the process, if the limit held while it pushes results."""
        body = b"b" * 900_000
        answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
        with dripping([answer + body], then_close=True) as server:
            lua = f"""
            local http, json, kept = require("http"), require("json"), {{}}
            local function fill()
              while pcall(function() kept[#kept + 1] = string.rep("x", 1000 + #kept) end) do end
            end
            fill()
            pcall(http.get, "{server.url}")
            fill()
            pcall(json.decode, '"' .. string.rep("y", 500) .. '"')
            pcall(json.encode, "<" .. kept[1])
            kept = nil
            return true
            """
            decision = decide(lua, memory=3_000_000, cpu=5.0)
        assert decision.allowed or decision.detail == MEMORY or CPU[:15] in decision.detail

    def test_a_runtime_is_freed_with_its_run(self, make: Make) -> None:
        """At once, and not when Python next looks for cycles: each holds hundreds of kilobytes."""
        policy = make('local json = require("json") function connect() error(json.encode({1})) end')
        gc.collect()
        gc.disable()
        try:
            for _ in range(3):
                policy.connect(REQUEST)
            assert not [each for each in gc.get_objects() if isinstance(each, lua51.LuaRuntime)]
        finally:
            gc.enable()

    def test_too_little_for_the_sandbox_itself(self, make: Make) -> None:
        policy = make("function connect() return true end")
        policy._limits = type(policy._limits)(memory=1000)
        assert_denied(FailClosed(policy).connect(REQUEST), "")


class TestShared:
    def test_memory_of_all_runs_is_bounded(self, make: Make) -> None:
        """Each run fills 4 MB and waits; together they may hold no more than 10 MB."""
        with dripping([]) as server:
            policy = make(
                f"""{HTTP}
                function connect()
                  local t = {{}}
                  for i = 1, 40 do t[i] = string.rep("x", 100000) .. i end
                  http.get("{server.url}", {{ timeout = 0.5 }})
                  return #t == 40
                end""",
                total_memory=10_000_000,
                cpu=1.0,
            )
            tasks = [gevent.spawn(policy.connect, REQUEST) for _ in range(6)]
            decisions = [task.get() for task in tasks]
        assert {decision.detail for decision in decisions if not decision.allowed} == {MEMORY}
        assert [decision.allowed for decision in decisions].count(True) == 2

    def test_memory_comes_back(self, make: Make) -> None:
        policy = make(
            "function connect() local t = {} for i = 1, 40 do t[i] = string.rep('x', 100000) .. i end return true end",
            total_memory=6_000_000,
            cpu=1.0,
        )
        assert [policy.connect(REQUEST).detail for _ in range(20)] == [""] * 20

    def test_lines_of_all_runs_are_bounded(self, make: Make, caplog: pytest.LogCaptureFixture) -> None:
        policy = make("function connect() for i = 1, 10 do log.info('line', i) end return true end", log_rate=25)
        with caplog.at_level(logging.INFO, "hubble.policy.lua"):
            for _ in range(20):
                policy.connect(REQUEST)
        assert 25 <= len(caplog.records) <= 80  # a few seconds at most

    def test_lines_beyond_are_told(self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
        now = 100.0
        monkeypatch.setattr("hubble.policy.lua.shared.time.monotonic", lambda: now)
        allowance = LineAllowance(3)
        assert [allowance.take() for _ in range(5000)].count(True) == 3
        now += 1
        assert allowance.take()
        assert "scripts exceeded 3 log lines a second: 4,997 lines dropped" in caplog.text


class TestTime:
    def test_a_server_that_never_answers(self, decide: Decide) -> None:
        with dripping([]) as server, gevent.Timeout(5):
            decision = decide(f'{HTTP} http.get("{server.url}") return true', total=0.2)
            assert server.closed.wait(2)
        assert_denied(decision, "the script took longer than 0.2 s")

    def test_a_body_that_drips_for_ever(self, decide: Decide) -> None:
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"
        with dripping(itertools.chain([answer], itertools.repeat(b"x")), pause=0.01) as server, gevent.Timeout(5):
            decision = decide(f'{HTTP} http.get("{server.url}") return true', total=0.2)
            assert server.closed.wait(2)
        assert_denied(decision, "the script took longer than 0.2 s")

    def test_a_header_that_drips_for_ever(self, decide: Decide) -> None:
        pieces = itertools.chain([b"HTTP/1.1 200 OK\r\nX-Long: "], itertools.repeat(b"x"))
        with dripping(pieces, pause=0.01) as server, gevent.Timeout(5):
            decision = decide(f'{HTTP} http.get("{server.url}") return true', total=0.2)
        assert_denied(decision, "the script took longer than 0.2 s")

    def test_one_request_after_the_other(self, decide: Decide) -> None:
        with dripping([]) as server, gevent.Timeout(5):
            lua = f'{HTTP} while true do http.get("{server.url}", {{ timeout = 0.05 }}) end'
            assert_denied(decide(lua, total=0.3), "the script took longer than 0.3 s")

    def test_swallowed_in_pcall(self, decide: Decide) -> None:
        with dripping([]) as server, gevent.Timeout(5):
            decision = decide(f'{HTTP} pcall(http.get, "{server.url}") return true', total=0.2)
        assert_denied(decision, "the script took longer than 0.2 s")

    def test_a_batch(self, decide: Decide) -> None:
        with dripping([]) as server, gevent.Timeout(5):
            lua = f'{HTTP} http.request_batch({{ {{"get", "{server.url}"}}, {{"get", "{server.url}"}} }}) return true'
            assert_denied(decide(lua, total=0.2), "the script took longer than 0.2 s")

    def test_too_many_at_once_wait_and_are_denied(self, make: Make) -> None:
        with dripping([]) as server, gevent.Timeout(5):
            policy = make(
                f'{HTTP} function connect() http.get("{server.url}", {{ timeout = 0.4 }}) return true end',
                concurrency=2,
                total=0.5,
            )
            decisions = [task.get() for task in [gevent.spawn(policy.connect, REQUEST) for _ in range(4)]]
        assert [decision.allowed for decision in decisions].count(True) == 2
        assert all(decision.error for decision in decisions if not decision.allowed)


class TestBodies:
    BOUND = "the response's body has more than 1000 bytes"

    def get(self, decide: Decide, url: str) -> Decision:
        with gevent.Timeout(5):
            return decide(f'{HTTP} local r, wrong = http.get("{url}") return r ~= nil, {{ detail = wrong }}', body=1000)

    def test_a_body_that_never_ends(self, decide: Decide) -> None:
        answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
        with dripping(itertools.chain([answer], itertools.repeat(b"x" * 1000))) as server:
            decision = self.get(decide, server.url)
            assert server.closed.wait(2)
        assert not decision.allowed
        assert self.BOUND in decision.detail

    def test_a_packed_body_that_grows(self, decide: Decide) -> None:
        packed = gzip.compress(b"x" * 50_000_000)
        answer = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
        with dripping([answer + packed]) as server, hub_held() as held:
            decision = self.get(decide, server.url)
        assert self.BOUND in decision.detail
        assert max(held) < 0.25

    def test_a_redirects_body_that_never_ends(self, decide: Decide) -> None:
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        with dripping([answer]) as landed:
            moved = f"HTTP/1.1 302 Found\r\nConnection: close\r\nLocation: {landed.url}\r\n\r\n".encode()
            with dripping(itertools.chain([moved], itertools.repeat(b"x" * 1000))) as server:
                assert self.get(decide, server.url).allowed
                assert server.closed.wait(2)


class TestRest:
    def test_log_lines_are_bounded(self, decide: Decide, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.INFO, "hubble.policy.lua"):
            assert decide("for i = 1, 50 do log.info(i, string.rep('x', 5000)) end return true", log_lines=5).allowed
        assert len(caplog.records) == 5
        assert max(len(record.getMessage()) for record in caplog.records) < 1100

    @pytest.mark.parametrize(
        "call", ['http.get("URL")', 'http.request_batch({ { "get", "URL" }, { "get", "URL" } })'], ids=["one", "batch"]
    )
    def test_a_killed_greenlet_ends(self, make: Make, call: str) -> None:
        with dripping([]) as server, gevent.Timeout(5):
            call = call.replace("URL", server.url)
            policy = make(f"{HTTP} function connect() while true do pcall(function() {call} end) end end")
            task = gevent.spawn(policy.connect, REQUEST)
            while not server.connections:
                gevent.sleep(0.01)
            task.kill(timeout=2)
            assert task.ready()
            assert isinstance(task.value, gevent.GreenletExit)
            assert server.closed.wait(2)

    def test_a_timeout_of_the_callers_passes_through(self, make: Make) -> None:
        with dripping([]) as server:
            policy = make(f'{HTTP} function connect() pcall(http.get, "{server.url}") return true end')
            with pytest.raises(gevent.Timeout), gevent.Timeout(0.1):
                policy.connect(REQUEST)

    def test_the_proxy_goes_on(self, make: Make) -> None:
        """Many hostile runs at once, beside a friendly one that waits for a server."""
        answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        with dripping([b"", answer], pause=0.05, then_close=True) as server:
            policy = make(
                f"""{HTTP}
                function connect(request)
                  if request:ip() == "friend" then return http.get("{server.url}").status_code == 200 end
                  local way = request:port() % 4
                  if way == 0 then while true do pcall(function() while true do end end) end end
                  if way == 1 then local s = "x" while true do s = s .. s end end
                  if way == 2 then pcall(http.get, "{server.url}") error("x") end
                  return coroutine.wrap(function() pcall(error) coroutine.yield(http.get("{server.url}") == nil) end)()
                end""",
            )
            ask: Callable[..., Decision] = FailClosed(policy).connect
            hostile = [gevent.spawn(ask, replace(REQUEST, port=port)) for port in range(40)]
            friend = gevent.spawn(ask, replace(REQUEST, host="friend"))
            gevent.joinall([*hostile, friend], timeout=20, raise_error=True)
        assert friend.value.allowed, friend.value.detail
        assert not any(task.value.allowed for task in hostile)
