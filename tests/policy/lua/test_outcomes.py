"""What becomes of a script: the decisions, and the errors in the words of the original."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from hubble.base.errors import UsageError
from hubble.policy import AUTHORIZATION_ERROR, UNAUTHORIZED, ConnectionRequest, FailClosed, RegistrationRequest
from tests.policy.lua.conftest import REQUEST, Decide, Make


def test_true_allows(decide: Decide) -> None:
    decision = decide("return true")
    assert decision.allowed
    assert decision.reason == ""


def test_false_is_unauthorized(decide: Decide) -> None:
    decision = decide("return false")
    assert not decision.allowed
    assert decision.reason == UNAUTHORIZED == "Unauthorized"
    assert not decision.error


@pytest.mark.parametrize("value", ["", "1", '"true"', "{}", "nil", "function() end"])
def test_no_boolean_is_an_error(decide: Decide, value: str) -> None:
    decision = decide(f"return {value}")
    assert (decision.allowed, decision.error, decision.reason) == (False, True, AUTHORIZATION_ERROR)
    assert decision.detail == "Function 'connect' does not return a boolean."


@pytest.mark.parametrize("source", ["", "connect = 5", "function conect() return true end"])
def test_no_function_is_an_error(make: Make, source: str, caplog: pytest.LogCaptureFixture) -> None:
    policy = make(source)
    assert "has no function 'connect'" in caplog.text
    decision = policy.connect(REQUEST)
    assert (decision.allowed, decision.error, decision.reason) == (False, True, "Authorization error.")
    assert decision.detail == "No function 'connect' in Lua module."


def test_a_raised_error_is_an_error(decide: Decide) -> None:
    decision = decide('error("the database is away")')
    assert (decision.allowed, decision.error, decision.reason) == (False, True, AUTHORIZATION_ERROR)
    assert decision.detail == "script.lua:2: the database is away"


@pytest.mark.parametrize(
    ("raised", "detail"),
    [
        ("error()", "nil"),
        ("error({code = 5})", "table: 0x"),
        ('error(setmetatable({}, {__tostring = function() return "told" end}))', "told"),
        ('error(setmetatable({}, {__tostring = function() error("no") end}))', "an error that cannot be printed"),
        ("error(false)", "false"),
    ],
)
def test_any_value_can_be_raised(decide: Decide, raised: str, detail: str) -> None:
    decision = decide(raised)
    assert decision.error
    assert decision.detail.startswith(detail)


def test_an_error_in_lua_itself_has_its_line(decide: Decide) -> None:
    assert decide("\n\nlocal x = nil + 1").detail == "script.lua:4: attempt to perform arithmetic on a nil value"


def test_an_error_while_the_file_runs_denies(make: Make) -> None:
    policy = make('require("http").get("http://127.0.0.1:1/")\nerror("no list")\nfunction connect() return true end')
    decision = policy.connect(REQUEST)
    assert (decision.error, decision.detail) == (True, "script.lua:2: no list")


def test_the_file_runs_anew_for_each_request(make: Make) -> None:
    policy = make("count = (count or 0) + 1\nfunction connect() seen = (seen or 0) + 1 return count + seen == 2 end")
    assert [policy.connect(REQUEST).allowed for _ in range(3)] == [True, True, True]


def test_the_request_has_the_methods_of_the_original(decide: Decide) -> None:
    decision = decide(
        """
        assert(type(request:ip()) == "string" and request:ip() == "db.internal")
        assert(type(request:port()) == "number" and request:port() == 5432)
        assert(type(request:gatename()) == "string" and request:gatename() == "agent2")
        assert(type(request:key()) == "string" and request:key() == "s3cret key")
        return true
        """
    )
    assert decision.allowed, decision.detail


def test_a_rule_without_a_key_has_an_empty_one(decide: Decide) -> None:
    assert decide('return request:key() == ""', request=replace(REQUEST, key="")).allowed


def test_the_request_has_our_methods(decide: Decide) -> None:
    decision = decide(
        """
        assert(request:source() == "agent1")
        assert(request:source_ip() == "192.0.2.7")
        assert(request:identity() == "alice")
        assert(request:session() == "0123456789abcdef")
        assert(request:resumes() == false)
        return true
        """
    )
    assert decision.allowed, decision.detail


@pytest.mark.parametrize("key", ["ключ", "\udcff\udc00raw", "\ud800"])
def test_a_key_of_any_bytes_reaches_the_script(decide: Decide, key: str) -> None:
    assert decide('return #request:key() > 0 and request:key() ~= "?"', request=replace(REQUEST, key=key)).allowed


def test_a_message_never_holds_the_key(decide: Decide, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        decision = decide('log.info("key is " .. request:key()) error("bad key " .. request:key() .. " s3cret%20key")')
    assert "s3cret" not in decision.detail + caplog.text
    assert "[key " in decision.detail


def test_a_message_is_one_line(decide: Decide) -> None:
    assert decide('error("one\\ntwo\\27[31m")').detail == "script.lua:2: one\\ntwo\\x1b[31m"


def test_a_script_may_allow_caching(decide: Decide) -> None:
    assert decide("return true, { cache = 30 }").cache_seconds == 30
    assert decide("return false, { cache = 0.5 }").cache_seconds == 0.5
    assert decide("return true").cache_seconds == 0
    assert decide("return true, { cache = 0/0 }").cache_seconds == 0


def test_options_have_their_types(decide: Decide) -> None:
    decision = decide('return true, { cache = "30" }')
    assert decision.error
    assert decision.detail == "the option 'cache' that 'connect' returns must be a number"


@pytest.mark.parametrize("second", ["nil", "5", '"text"', "{ unknown = 1 }"])
def test_other_second_results_mean_nothing(decide: Decide, second: str) -> None:
    assert decide(f"return true, {second}").allowed


class TestLoading:
    def test_a_syntax_error_stops_the_start(self, make: Make) -> None:
        with pytest.raises(UsageError) as caught:
            make("function connect()\n  return true\n  end end")
        text = str(caught.value)
        assert text.endswith("script.lua:3: '<eof>' expected near 'end'")
        assert text.startswith("authorization script /")
        assert "\n" not in text

    def test_an_error_while_the_file_runs_stops_the_start(self, make: Make) -> None:
        with pytest.raises(UsageError, match=r"script\.lua:2: attempt to index global 'nothing' \(a nil value\)"):
            make("\nnothing.x = 1")

    def test_an_endless_file_stops_the_start(self, make: Make) -> None:
        with pytest.raises(UsageError, match="more than 50 ms of CPU"):
            make("while true do end")

    def test_a_missing_file_stops_the_start(self, tmp_path: object) -> None:
        from hubble.policy import LuaPolicy

        with pytest.raises(UsageError, match=r"cannot read authorization script .*absent\.lua: No such file"):
            LuaPolicy(f"{tmp_path}/absent.lua")

    def test_precompiled_lua_is_refused(self, make: Make) -> None:
        with pytest.raises(UsageError, match="precompiled"):
            make(b"\x1bLuaQ\x00")

    def test_a_file_that_asks_for_http_at_once_is_taken(self, make: Make) -> None:
        make('local answer, wrong = require("http").get("http://127.0.0.1:1/")\nerror("never checked")')

    def test_an_interpreter_line_is_skipped(self, make: Make) -> None:
        policy = make("#!/usr/bin/lua\nfunction connect() error('here') end")
        assert policy.connect(REQUEST).detail == "script.lua:2: here"


class TestResume:
    def test_without_the_function_connect_decides(self, make: Make) -> None:
        policy = make("function connect(request) return request:resumes() end")
        assert policy.resume(ConnectionRequest(resumes=True)).allowed
        assert not policy.connect(ConnectionRequest()).allowed

    def test_with_the_function_it_decides(self, make: Make) -> None:
        policy = make("function connect() return true end function resume() return false end")
        assert policy.connect(REQUEST).allowed
        assert policy.resume(REQUEST).reason == UNAUTHORIZED

    def test_a_mention_is_not_a_function(self, make: Make) -> None:
        policy = make("function connect() return coroutine.resume(coroutine.create(print)) end")
        assert policy.resume(REQUEST).allowed


class TestRegister:
    REQUEST = RegistrationRequest(
        "agent1", "k3y", "192.0.2.7", "CN=agent1", {"X-Site": "north", "Authorization": "Bearer x"}
    )

    def test_without_the_function_anyone_registers(self, make: Make) -> None:
        policy = make("if late then error('never run') end function connect() return false end")
        assert policy.register(self.REQUEST).allowed

    def test_the_script_is_not_even_run_without_it(self, make: Make) -> None:
        policy = make('require("http").get("http://127.0.0.1:1/") error("x") function connect() return false end')
        assert policy.register(self.REQUEST).allowed

    def test_it_has_the_facts(self, make: Make) -> None:
        policy = make(
            """
            function register(request)
              assert(request:name() == "agent1")
              assert(request:key() == "k3y")
              assert(request:address() == "192.0.2.7")
              assert(request:certificate_subject() == "CN=agent1")
              assert(request:header("x-SITE") == "north")
              assert(request:headers()["x-site"] == "north")
              assert(request:header("absent") == nil)
              return true, { identity = "site-north" }
            end
            """
        )
        decision = FailClosed(policy).register(self.REQUEST)
        assert decision.allowed, decision.detail
        assert decision.identity == "site-north"

    def test_it_refuses(self, make: Make) -> None:
        policy = make("function register(request) return request:name() ~= 'agent1' end")
        assert policy.register(self.REQUEST).reason == UNAUTHORIZED

    def test_its_errors_name_it(self, make: Make) -> None:
        policy = make("function register(request) return 1 end")
        assert policy.register(self.REQUEST).detail == "Function 'register' does not return a boolean."


class TestEvent:
    def test_it_gets_a_table(self, make: Make, caplog: pytest.LogCaptureFixture) -> None:
        policy = make("function event(e) log.warning(e.type, e.bytes, e.ok, e.request.host, e.tags[2]) end")
        policy.event({"type": "Open", "bytes": 5, "ok": True, "request": {"host": "h"}, "tags": ["a", "b"], "no": None})
        assert "script.lua: Open\\t5\\ttrue\\th\\tb" in caplog.text

    def test_its_errors_are_logged(self, make: Make, caplog: pytest.LogCaptureFixture) -> None:
        make("function event(e) error('full') end").event({"type": "Open"})
        assert "event: script.lua:1: full" in caplog.text

    def test_without_the_function_nothing_runs(self, make: Make, caplog: pytest.LogCaptureFixture) -> None:
        make("function connect() return true end").event({"type": object()})
        assert caplog.text == ""


def test_log_has_four_levels_and_print(decide: Decide, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "hubble.policy.lua"):
        decide(
            'log.debug("d") log.info("i", 1, nil, true) log.warning("w") log.error("e") print("p")\n'
            'require("log").info("r") return true'
        )
    levels = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert levels == [
        ("DEBUG", "script.lua: d"),
        ("INFO", "script.lua: i\\t1\\tnil\\ttrue"),
        ("WARNING", "script.lua: w"),
        ("ERROR", "script.lua: e"),
        ("INFO", "script.lua: p"),
        ("INFO", "script.lua: r"),
    ]
