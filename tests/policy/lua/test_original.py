"""A script as people wrote them for the original, which must run unchanged: it asks a service about each session."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from hubble.policy import AUTHORIZATION_ERROR, UNAUTHORIZED, FailClosed
from tests.policy.lua.conftest import REQUEST, Make
from tests.support.httpservers import HttpServer, Received, refusing, serving

SCRIPT = """
http = require("http")

service = "%s/authorize"

function escape(text)
  text = string.gsub(text, "\\n", "\\r\\n")
  text = string.gsub(text, "([^%%w %%-%%_%%.%%~])", function(c)
    return string.format("%%%%%%02X", string.byte(c))
  end)
  return (string.gsub(text, " ", "+"))
end

function connect(request)
  url = service .. "?ip=" .. escape(request:ip()) .. "&port=" .. string.format("%%d", request:port())
    .. "&gatename=" .. escape(request:gatename()) .. "&key=" .. escape(request:key())
  response, err = http.get(url)
  if err then
    error(err)
  end
  if response.status_code == 200 then
    return true
  elseif response.status_code == 404 then
    return false
  end
  error("unexpected status " .. response.status_code)
end
"""


def authorize(request: Received) -> int:
    if request.path != "/authorize" or request.parameter("port") != "5432":
        return 500
    facts = [request.parameter(name) for name in ("ip", "gatename", "key")]
    return 200 if facts == ["db.internal", "agent2", "a key/with & ü"] else 404


@pytest.fixture
def server() -> Iterator[HttpServer]:
    with serving(authorize) as running:
        yield running


GOOD = replace(REQUEST, key="a key/with & ü")


def test_200_allows(make: Make, server: HttpServer) -> None:
    assert make(SCRIPT % server.url).connect(GOOD).allowed


def test_404_is_unauthorized(make: Make, server: HttpServer) -> None:
    decision = make(SCRIPT % server.url).connect(replace(GOOD, key=""))
    assert (decision.allowed, decision.reason, decision.error) == (False, UNAUTHORIZED, False)


def test_any_other_status_is_an_error(make: Make, server: HttpServer) -> None:
    decision = make(SCRIPT % server.url).connect(replace(GOOD, port=80))
    assert (decision.allowed, decision.reason, decision.error) == (False, AUTHORIZATION_ERROR, True)
    assert decision.detail == "script.lua:26: unexpected status 500"


def test_a_service_that_is_away_is_an_error(make: Make) -> None:
    with refusing() as url:
        decision = FailClosed(make(SCRIPT % url)).connect(GOOD)
    assert (decision.allowed, decision.reason) == (False, AUTHORIZATION_ERROR)
    assert decision.detail == f'script.lua:19: Get "{url}/authorize": connection refused'
    assert "key" not in decision.detail
