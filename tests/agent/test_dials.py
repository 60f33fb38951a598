"""How much an exit dials at once."""

from __future__ import annotations

import contextlib
import errno
import time
import uuid
from collections.abc import Callable, Iterator

import gevent
import pytest
from gevent import socket
from gevent.event import Event

from hubble.agent import dials
from hubble.agent.dials import Dialled, Dials
from hubble.base.errors import DialError
from hubble.protocol.messages import Ack, Initiator, Refusal, Stream, Terms
from hubble.transport import addresses
from tests.support.agents import Started, started
from tests.support.fakeproxy import LIMIT, Call, FakeProxy
from tests.support.services import Service, echo
from tests.support.talk import PATIENCE
from tests.support.waiting import poll

pytestmark = pytest.mark.usefixtures("quick_farewells")


def ask(source: str = "entry", port: int = 1, received: int = 0) -> Initiator:
    terms = Terms(1, received, LIMIT, b"s" * 16)
    return Initiator(uuid.uuid4().bytes, "127.0.0.1", port, "exit", terms=terms, source=source)


class Stage:
    """Dials that wait until they are let through."""

    def __init__(self, most: int, patience: float = PATIENCE) -> None:
        self.under_way: list[str] = []
        self.through = Event()
        self.done: list[Dialled] = []
        self.dials = Dials(most, patience, self._connect, self.done.append)

    def add(self, source: str, count: int = 1) -> None:
        for _ in range(count):
            self.dials.add(ask(source))
        gevent.idle()

    def _connect(self, initiator: Initiator) -> socket.socket:
        self.under_way.append(initiator.source)
        self.through.wait()
        raise DialError("nobody there")


def test_so_many_at_once() -> None:
    stage = Stage(30)
    stage.add("a", 100)
    assert len(stage.under_way) == 20
    stage.add("b", 3)
    assert len(stage.under_way) == 23  # room was left for another gateway
    stage.through.set()
    poll(lambda: len(stage.done) == 103, PATIENCE, "all are answered")
    assert len(stage.dials) == 0


def test_a_full_queue_refuses_the_gateway_that_has_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dials, "WAITING", 5)
    stage = Stage(1)
    stage.add("a", 7)
    assert [(each.code, each.initiator.source) for each in stage.done] == [(Refusal.BUSY, "a")]
    stage.add("b")
    assert [each.initiator.source for each in stage.done] == ["a", "a"]
    assert "5 sessions wait" in stage.done[0].text


def test_waiting_ends() -> None:
    stage = Stage(1, patience=5.0)
    stage.add("a", 3)
    stage.dials.expire(time.monotonic() + 4.0)
    assert stage.done == []
    stage.dials.expire(time.monotonic() + 6.0)
    assert [each.code for each in stage.done] == [Refusal.BUSY] * 2
    assert len(stage.dials) == 1  # is under way


def test_one_that_fails_unexpectedly_holds_up_no_other() -> None:
    done: list[Dialled] = []

    def connect(initiator: Initiator) -> socket.socket:
        raise MemoryError

    several = Dials(1, PATIENCE, connect, done.append)
    for _ in range(3):
        several.add(ask())
    poll(lambda: len(done) == 3, PATIENCE, "all are answered")
    assert {each.code for each in done} == {Refusal.BUSY}


def test_closing_ends_all() -> None:
    stage = Stage(2)
    stage.add("a", 5)
    stage.dials.close()
    assert len(stage.under_way) == 1


@pytest.fixture
def exit_with(fake: FakeProxy) -> Iterator[Callable[..., tuple[Started, Call]]]:
    def start(**options: object) -> tuple[Started, Call]:
        running = contexts.enter_context(started(fake.url, "exit", linked=False, options=options))
        return running, fake.accept()

    with contextlib.ExitStack() as contexts:
        yield start


def test_too_many_sessions_are_refused(exit_with: Callable[..., tuple[Started, Call]]) -> None:
    service = Service(echo)
    agent, call = exit_with(max_sessions=2)
    for _ in range(2):
        call.say(ask(port=service.port))
        assert call.hear(Ack).ok
    call.say(ask(port=service.port))
    ack = call.hear(Ack)
    assert (ack.code, ack.message) == (Refusal.BUSY, "this exit already has 2 sessions")
    assert agent.sessions() == 2
    service.close()


def test_without_descriptors_a_session_is_refused_as_busy(
    exit_with: Callable[..., tuple[Started, Call]], monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Service(echo)
    _, call = exit_with()

    class Short:
        def __getattr__(self, name: str) -> object:
            return getattr(socket, name)

        def socket(self, *arguments: object) -> socket.socket:
            raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(addresses, "socket", Short())
        call.say(ask(port=service.port))
        ack = call.hear(Ack)
    assert ack.code is Refusal.BUSY and "Too many open files" in ack.message
    call.say(ask(port=service.port))
    ack = call.hear(Ack)
    assert ack.ok
    call.say(Stream(ack.session, False, 0, b"goes on"))
    while not isinstance(heard := call.hear_any(), Stream):
        pass
    assert heard.payload == b"goes on"
    service.close()


def test_terms_that_no_new_session_can_have_leave_nothing_behind(
    exit_with: Callable[..., tuple[Started, Call]],
) -> None:
    service = Service(echo)
    agent, call = exit_with()
    call.say(ask(port=service.port, received=5))
    ack = call.hear(Ack)
    assert (ack.ok, ack.code) == (False, Refusal.BAD_REQUEST)
    assert agent.sessions() == 0
    service.close()
