"""Fixtures of every test that runs a proxy in this process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hubble.proxy.proxy import Proxy
from hubble.transport import link
from tests.support.speakers import Speaker, agent, legacy_agent


@pytest.fixture
def quick_farewells(monkeypatch: pytest.MonkeyPatch) -> None:
    """A link that says good-bye and is not read by anybody any more ends soon."""
    monkeypatch.setattr(link, "CLOSE_TIMEOUT", 0.1)


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    """A proxy that grants everything, in this process."""
    proxy = Proxy("127.0.0.1:0")
    proxy.start()
    yield proxy
    proxy.stop()


@pytest.fixture
def entry(proxy: Proxy) -> Speaker:
    return agent(proxy, "entry")


@pytest.fixture
def exit_agent(proxy: Proxy) -> Speaker:
    return agent(proxy, "exit")


@pytest.fixture
def old_entry(proxy: Proxy) -> Speaker:
    return legacy_agent(proxy, "old entry")


@pytest.fixture
def old_exit(proxy: Proxy) -> Speaker:
    return legacy_agent(proxy, "old exit")
