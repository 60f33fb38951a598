"""HTTP connections that are kept for later requests of scripts."""

from __future__ import annotations

import http.client
import time

import pytest

from hubble.policy.lua import connections
from hubble.policy.lua.connections import Connections
from hubble.policy.lua.urls import parse_url
from tests.support.httpservers import serving


class Closable(http.client.HTTPConnection):
    """Counts how often connections are closed."""

    closed = 0

    def close(self) -> None:
        Closable.closed += 1
        super().close()


def test_those_kept_longest_are_closed_beyond_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "KEPT", 3)
    monkeypatch.setattr(Closable, "closed", 0)
    kept = Connections(None)
    for number in range(5):
        kept.give(parse_url(f"http://host-{number}/"), Closable(f"host-{number}"))
    assert Closable.closed == 2


@pytest.mark.parametrize("age, again", [(0.0, True), (connections.KEPT_SECONDS + 1, False)])
def test_one_kept_too_long_is_not_used(monkeypatch: pytest.MonkeyPatch, age: float, again: bool) -> None:
    kept = Connections(None)
    with serving(lambda request: 200) as server:
        url = parse_url(server.url + "/")
        connection, _ = kept.take(url)
        connection.connect()
        kept.give(url, connection)
        now = time.monotonic() + age
        with monkeypatch.context() as later:
            later.setattr("hubble.policy.lua.connections.time.monotonic", lambda: now)
            taken = kept.take(url)[0]
        assert (taken is connection) is again
        connection.close()
