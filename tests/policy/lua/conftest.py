"""Scripts for the tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hubble.policy import ConnectionRequest, Decision, FailClosed, Limits, LuaPolicy

Make = Callable[..., LuaPolicy]
Decide = Callable[..., Decision]
REQUEST = ConnectionRequest(
    host="db.internal",
    port=5432,
    gateway="agent2",
    key="s3cret key",
    source="agent1",
    source_ip="192.0.2.7",
    identity="alice",
    session="0123456789abcdef",
)


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A policy of a script's text; keywords are limits, or LuaPolicy's own."""

    def policy(source: str | bytes, *, unsafe: bool = False, ca_file: str | None = None, **limits: Any) -> LuaPolicy:
        path = tmp_path / "script.lua"
        path.write_bytes(source if isinstance(source, bytes) else source.encode())
        return LuaPolicy(path, Limits(**limits), unsafe=unsafe, ca_file=ca_file)

    return policy


@pytest.fixture
def decide(make: Make) -> Decide:
    """What `connect` decides if it has this body; keywords as for make, and `request`."""

    def decision(lua: str, /, *, request: ConnectionRequest = REQUEST, **options: Any) -> Decision:
        policy = make(f"function connect(request)\n{lua}\nend", **options)
        return FailClosed(policy).connect(request)

    return decision


@pytest.fixture
def evaluate(decide: Decide) -> Callable[..., str]:
    """The text of a Lua expression, computed inside `connect`, or the error that it raised."""

    def text(expression: str, before: str = "", /, **options: Any) -> str:
        return decide(f"{before}\nreturn true, {{ detail = tostring({expression}) }}", **options).detail

    return text
