from __future__ import annotations

import pytest

import hubble.proxy.gateways.balance as balance_module
from hubble.directory import LocalDirectory, Worker
from hubble.protocol.codec import decode
from hubble.protocol.messages import GoAway
from hubble.proxy.gateways.balance import AT_ONCE, Balance
from hubble.proxy.gateways.gateway import Gateway
from hubble.proxy.gateways.registry import Gateways
from hubble.proxy.sessions.routes import Routes


class FakeLink:
    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def send(self, data: bytes) -> None:
        self.sent.append(data)


class FakeLoad:
    def __init__(self, excess: int) -> None:
        self._excess = excess

    def excess(self) -> int:
        return self._excess


def gateways(count: int, *, resumable: bool = True) -> Gateways:
    found = Gateways(Worker("me", ""), LocalDirectory())
    for number in range(count):
        instance = bytes([number] * 16) if resumable else b""
        found.register(Gateway(FakeLink(), f"agent-{number}", resumable, instance, 1))  # type: ignore[arg-type]
    return found


def asked(found: Gateways) -> list[str]:
    """Who was told to move."""
    return [gateway.name for gateway in found for data in gateway.link.sent if isinstance(decode(data), GoAway)]  # type: ignore[attr-defined]


@pytest.mark.parametrize(("excess", "many"), [(0, 0), (3, 3), (AT_ONCE + 5, AT_ONCE)])
def test_as_many_as_are_too_many_but_not_all_at_once(excess: int, many: int) -> None:
    found = gateways(AT_ONCE + 10)
    Balance(found, Routes(), FakeLoad(excess)).rebalance()  # type: ignore[arg-type]
    assert len(asked(found)) == many


def test_no_agent_is_asked_in_place_of_one_that_is_about_to_move() -> None:
    """They may be slow, or have to wait: what they are too many of they are still when it is looked again."""
    found = gateways(5)
    balance = Balance(found, Routes(), FakeLoad(3))  # type: ignore[arg-type]
    balance.rebalance()
    balance.rebalance()
    assert asked(found) == ["agent-0", "agent-1", "agent-2"]


def test_who_has_moved_makes_room_for_others() -> None:
    found = gateways(5)
    balance = Balance(found, Routes(), FakeLoad(3))  # type: ignore[arg-type]
    balance.rebalance()
    moved = next(iter(found))
    found.unregister(moved, "moved")
    balance.rebalance()
    assert asked(found) == ["agent-1", "agent-2", "agent-3"]


def test_no_agent_is_asked_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(balance_module, "GRACE", 0)
    found = gateways(5)
    balance = Balance(found, Routes(), FakeLoad(3))  # type: ignore[arg-type]
    balance.rebalance()
    balance.rebalance()
    assert sorted(asked(found)) == [f"agent-{number}" for number in range(5)]


def test_who_has_a_session_stays() -> None:
    found = gateways(3)
    busy, opening, idle = found
    routes = Routes()
    routes.of(busy).routes[b"session"] = None  # type: ignore[assignment]
    routes.of(opening).asking.add(b"session")
    Balance(found, routes, FakeLoad(3)).rebalance()  # type: ignore[arg-type]
    assert asked(found) == [idle.name]


def test_who_would_not_understand_stays() -> None:
    found = gateways(3, resumable=False)
    Balance(found, Routes(), FakeLoad(3)).rebalance()  # type: ignore[arg-type]
    assert asked(found) == []
