"""Sessions that are asked for again, thousands at a time."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, cast

import gevent
import pytest

from hubble.agent import pathrequests
from hubble.agent.connection import Connection
from hubble.agent.links import Links
from hubble.agent.pathrequests import PathRequests
from hubble.protocol.messages import Ack, Initiator, Terms
from hubble.protocol.states import PathState
from hubble.transport.link import Link
from tests.support.agents import started
from tests.support.fakeproxy import LIMIT, Call, FakeProxy
from tests.support.sockets import connect
from tests.support.talk import PATIENCE
from tests.support.waiting import poll

MANY = 5_000
ALLOWED = 500
"""Unanswered Initiators of an agent: a quarter of what a proxy allows."""


@dataclass
class FakeSession:
    id: bytes
    path: PathState = PathState.WAITING


@dataclass
class FakeConnection:
    session: FakeSession


@dataclass
class Asked:
    """What is asked for, and the requests."""

    requests: PathRequests
    links: Links
    order: list[bytes]
    gateways: dict[bytes, str] = field(default_factory=dict)

    def add(self, gateway: str, count: int) -> None:
        for _ in range(count):
            connection = FakeConnection(FakeSession(len(self.gateways).to_bytes(4)))
            self.gateways[connection.session.id] = gateway
            self.requests.add(cast(Connection, connection), gateway)

    def wait_for(self, count: int) -> None:
        """Returns once so many have been asked for, and no more."""
        poll(lambda: len(self.order) >= count, PATIENCE, f"{count} are asked for")
        gevent.sleep(0.02)
        assert len(self.order) == count


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[Asked]:
    monkeypatch.setattr(pathrequests, "WINDOW", 30)
    monkeypatch.setattr(pathrequests, "LEAST", 4)
    monkeypatch.setattr(pathrequests, "PAUSE", 0.05)

    def ask(connection: Any, link: Link) -> None:
        connection.session.path = PathState.CONNECTING
        order.append(connection.session.id)

    links, order = Links(), list[bytes]()
    links.link = cast(Link, object())
    asked = Asked(PathRequests(links, ask), links, order)
    runner = gevent.spawn(asked.requests.run)
    yield asked
    runner.kill()


class TestTheWindow:
    def test_answers_make_room(self, asked: Asked) -> None:
        asked.add("exit", 100)
        asked.wait_for(20)  # one gateway gets two thirds
        for session in asked.order[:5]:
            asked.requests.answered(session)
            asked.requests.answered(session)  # such as by an Ack, and by the end of the session
        asked.wait_for(25)

    def test_an_exit_that_does_not_answer_holds_up_no_other(self, asked: Asked) -> None:
        asked.add("offline", 100)
        asked.wait_for(20)
        asked.add("exit", 3)
        asked.wait_for(23)
        assert {asked.gateways[session] for session in asked.order[20:]} == {"exit"}

    def test_busy_refusals_shrink_it(self, asked: Asked) -> None:
        asked.add("exit", 100)
        asked.wait_for(20)
        for session in asked.order[:20]:
            asked.requests.busy()
            asked.requests.answered(session)
        asked.wait_for(35)
        for session in asked.order[20:]:
            asked.requests.granted()
            asked.requests.answered(session)
        asked.wait_for(54)

    def test_a_lost_link_empties_it(self, asked: Asked) -> None:
        asked.add("exit", 100)
        asked.wait_for(20)
        asked.requests.link_lost()
        asked.add("exit", 100)
        asked.wait_for(40)

    def test_one_that_waits_no_more_takes_no_place(self, asked: Asked) -> None:
        asked.links.link, link = None, asked.links.link
        over = FakeConnection(FakeSession(b"over", PathState.ENDED))
        asked.requests.add(cast(Connection, over), "exit")
        asked.add("exit", 100)
        asked.links.link = link
        asked.add("exit", 1)
        asked.wait_for(20)
        assert b"over" not in asked.order


def initiators(call: Call) -> list[Initiator]:
    """Those that arrive before none arrives for a moment."""
    arrived: list[Initiator] = []
    while True:
        with gevent.Timeout(0.1, False):
            arrived.append(call.hear(Initiator))
            continue
        return arrived


@pytest.mark.usefixtures("quick_farewells")
def test_thousands_resume_within_what_a_proxy_allows(fake: FakeProxy) -> None:
    needed, (soft, hard) = 2 * MANY + 500, resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < needed:
        pytest.skip(f"needs {needed} file descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))
    try:
        with ExitStack() as clients, started(fake.url, "entry", "0:exit:host:22", linked=False) as entry:
            call = fake.accept()
            opened = set()
            for _ in range(MANY):
                clients.enter_context(connect(entry.port))
                opened.add(call.open().session)
            call.cut()
            again = fake.accept()
            resumed: set[bytes] = set()
            while resumed != opened:
                asked = initiators(again)
                assert len(asked) <= ALLOWED
                for each in asked:
                    assert each.terms is not None
                    again.say(Ack(each.session, True, terms=Terms(each.terms.attempt, 0, LIMIT)))
                resumed |= {each.session for each in asked}
            assert entry.sessions() == MANY
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
