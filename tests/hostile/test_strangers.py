"""Strangers: wrong keys, and requests that are no requests."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest

from hubble.policy.keys import generate_key, hash_key
from tests.hostile.arena import Arena, Bounds, Setup
from tests.hostile.conftest import Kept
from tests.hostile.drivers import strangers

RIGHT = "correct horse"
GENERATED, GENERATED_HASH = generate_key()
BACK = 10.0
"""Seconds within which an agent with a right key is registered, whoever else sends wrong ones."""


def rules(path: Path) -> str:
    """A file in which agents prove a key that somebody chose, but for "fast"."""
    path.write_text(
        f"""
        [[identity]]
        name = "agents"
        key = "{hash_key(RIGHT)}"
        register = ["entry", "exit", "late"]

        [[identity]]
        name = "fast"
        key = "{GENERATED_HASH}"
        register = "fast"

        [[rule]]
        """
    )
    return str(path)


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Setup:
    file = rules(Path(tmp_path_factory.mktemp("rules")) / "rules.toml")
    return Setup(proxy=("--auth-rules", file), entry=("-key", RIGHT), exit=("-key", RIGHT))


@pytest.fixture
def guarded(keyed: Setup, kept: Kept, request: pytest.FixtureRequest) -> Iterator[Arena]:
    """An arena whose agents need keys."""
    with kept.using(keyed, request) as arena:
        yield arena


def test_wrong_keys_keep_no_right_key_out(guarded: Arena, kept: Kept) -> None:
    """Wrong keys from a hundred networks at once, and the worker restarts meanwhile."""
    arena = guarded
    proxy = arena.tunnel.proxy
    attack = gevent.spawn(arena.attack, strangers.wrong_keys, 12.0, Bounds(), {"name": "late"})
    proxy.log.wait_for(r"late.* from 127.* refused", within=BACK)
    marks = arena.tunnel.marks()
    (worker,) = proxy.children()
    os.kill(worker, signal.SIGKILL)
    arena.tunnel.wait_registered(marks, within=BACK)
    arena.stage.agent(proxy.url, "fast", "-key", GENERATED)
    late = arena.stage.agent(proxy.url, "late", "-key", RIGHT)
    assert late.log.matches("registered as late")
    counts = attack.get().counts
    assert counts["denied"] > 20, counts
    kept.end()


def test_wrong_keys_do_not_hold_up_sessions(guarded: Arena) -> None:
    counts = guarded.withstand(strangers.wrong_keys, name="late")
    assert counts["denied"]


def test_odd_requests_are_a_few_lines(arena: Arena) -> None:
    log = arena.tunnel.proxy.log
    mark = log.mark()
    counts = arena.withstand(strangers.odd_requests)
    assert set(counts) == {"400", "431", "505"}
    lines = log.lines[mark:]
    assert sum(counts.values()) > 10 * len(lines)
    assert len(lines) < 150, lines[:20]
