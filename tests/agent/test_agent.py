"""An agent and its link: registering, coming back, going elsewhere, stopping."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent import socket
from gevent.event import Event

from hubble.agent.agent import Agent
from hubble.agent.options import AgentOptions
from hubble.agent.rules import Rule
from hubble.base.errors import DialError, ListenError, RegistrationRefused, UsageError
from hubble.protocol.messages import (
    RESUMABLE,
    Ack,
    Data,
    GoAway,
    Handshake,
    Initiator,
    Refusal,
    Reset,
    ResetReason,
    Stream,
)
from hubble.transport.dial.dial import DialOptions
from hubble.transport.tls import TLSOptions
from tests.support.agents import started
from tests.support.fakeproxy import FakeProxy
from tests.support.sockets import assert_reset, connect
from tests.support.talk import PATIENCE
from tests.support.waiting import poll

pytestmark = pytest.mark.usefixtures("quick_farewells")

RULE = "0:s3cret@exit:host:22"


@pytest.fixture
def nobody() -> str:
    """The URL of a port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"ws://127.0.0.1:{listener.getsockname()[1]}"


def logged(caplog: pytest.LogCaptureFixture, pattern: str, level: int = logging.DEBUG) -> Callable[[], bool]:
    def found() -> bool:
        return any(record.levelno == level and re.search(pattern, record.getMessage()) for record in caplog.records)

    return found


class TestRegistering:
    def test_says_who_it_is(self, fake: FakeProxy) -> None:
        with started(fake.url, "agent", key="s3cret", linked=False):
            call = fake.accept()
            assert call.hello is not None
            assert call.hello == Handshake(
                "agent", "s3cret", "0.1", frozenset({RESUMABLE}), call.hello.instance, call.hello.epoch
            )
            assert len(call.hello.instance) == 16

    def test_comes_back_as_the_same_with_a_later_epoch(self, fake: FakeProxy) -> None:
        with started(fake.url, "agent", linked=False):
            epochs, instances = [], set()
            for _ in range(3):
                call = fake.accept()
                assert call.hello is not None
                epochs.append(call.hello.epoch)
                instances.add(call.hello.instance)
                call.cut()
            assert epochs == sorted(set(epochs)) and len(instances) == 1

    def test_two_agents_are_not_the_same(self, fake: FakeProxy) -> None:
        with started(fake.url, "agent", linked=False), started(fake.url, "agent", linked=False):
            first, second = fake.accept().hello, fake.accept().hello
            assert first is not None and second is not None and first.instance != second.instance

    def test_a_refusal_is_an_error_and_tried_again(self, fake: FakeProxy, caplog: pytest.LogCaptureFixture) -> None:
        with started(fake.url, "agent", key="s3cret", linked=False):
            fake.call().refuse("the name agent is taken", Refusal.NAME_TAKEN)
            fake.accept()
            error = f"{fake.url}/ refused the registration as agent: the name agent is taken"
            poll(logged(caplog, re.escape(error), logging.ERROR), PATIENCE, "the refusal is logged")
            assert "s3cret" not in caplog.text

    def test_a_network_failure_is_a_warning_and_tried_again(
        self, fake: FakeProxy, caplog: pytest.LogCaptureFixture
    ) -> None:
        fake.shut()
        with started(fake.url, "agent", linked=False):
            poll(logged(caplog, "cannot connect.*refused", logging.WARNING), PATIENCE, "the failure is logged")
            assert not logged(caplog, "", logging.ERROR)()
            fake.open()
            fake.accept()

    def test_no_answer_in_time(self, fake: FakeProxy, caplog: pytest.LogCaptureFixture) -> None:
        with started(fake.url, "agent", linked=False, options={"hello_timeout": 0.1}):
            call = fake.call()
            assert call.wait_end()
            poll(logged(caplog, "did not answer the registration within 0.1 s", logging.WARNING), PATIENCE, "a warning")
            fake.accept()

    @pytest.mark.parametrize("answer", [Data(bytes(16), 1, b"x"), Handshake("you"), b"\x99", b""])
    def test_a_wrong_answer(self, fake: FakeProxy, answer: Any) -> None:
        with started(fake.url, "agent", linked=False) as running:
            fake.call().say(answer)
            fake.accept()
            running.wait_linked()

    def test_the_pauses_grow_up_to_half_a_minute(self, nobody: str) -> None:
        pauses = pauses_of(Agent(nobody, "agent"), attempts=12)
        assert pauses[0] < 1
        for number, pause in enumerate(pauses):
            longest = min(30.0, 0.5 * 2**number)
            assert longest / 2 <= pause <= longest
        assert len({pause / min(30.0, 0.5 * 2**number) for number, pause in enumerate(pauses)}) > 1  # jitter

    def test_the_pauses_begin_anew_after_a_success(self, fake: FakeProxy) -> None:
        fake.shut()
        agent = Agent(fake.url, "agent")
        agent._keeper._stopping = impatient = Impatient(10**9)
        agent.start()
        poll(lambda: len(impatient.waits) > 6, PATIENCE, "some attempts fail")
        fake.open()
        call = fake.accept()
        poll(lambda: agent._links.link, PATIENCE, "it is linked")
        failures = len(impatient.waits)
        assert impatient.waits[-1] > 5
        call.cut()
        fake.accept()
        agent.stop()
        assert impatient.waits[failures] <= 0.5

    def test_several_proxies_are_all_tried(self, fake: FakeProxy, nobody: str) -> None:
        for _ in range(5):
            with started([nobody, fake.url], "agent", linked=False, options={"retry_first": 30.0}):  # type: ignore[arg-type]
                fake.accept()


class TestExitOnFailure:
    def test_a_refusal(self, fake: FakeProxy) -> None:
        agent = Agent(fake.url, "agent", options=AgentOptions(exit_on_failure=True))
        agent.start()
        fake.call().refuse("Unauthorized")
        with pytest.raises(RegistrationRefused, match="Unauthorized"):
            agent.wait()
        agent.stop()

    def test_a_network_failure(self, nobody: str) -> None:
        with pytest.raises(DialError, match="refused"):
            Agent(nobody, "agent", options=AgentOptions(exit_on_failure=True)).run()

    def test_a_link_that_ends_before_it_is_answered(self, fake: FakeProxy) -> None:
        agent = Agent(fake.url, "agent", options=AgentOptions(exit_on_failure=True))
        agent.start()
        fake.call().cut()
        with pytest.raises(DialError, match="closed the link before it answered the registration"):
            agent.wait()
        agent.stop()

    def test_a_later_failure_is_borne(self, fake: FakeProxy) -> None:
        with started(fake.url, "agent", linked=False, options={"exit_on_failure": True}) as running:
            call = fake.accept()
            running.wait_linked()
            call.cut()
            fake.call().refuse("Unauthorized")
            fake.accept()

    def test_listeners_are_closed_by_stopping_afterwards(self, fake: FakeProxy) -> None:
        agent = Agent(fake.url, "agent", [RULE], options=AgentOptions(exit_on_failure=True))
        ((_, _, port),) = agent.start()
        fake.call().refuse("Unauthorized")
        with pytest.raises(RegistrationRefused):
            agent.wait()
        agent.stop()
        with pytest.raises(ConnectionRefusedError):
            connect(port)


class TestUsage:
    @pytest.mark.parametrize(
        "url, name, rules, said",
        [
            ("ws://host", "", [], 'the gateway name "" is empty; choose another with -name'),
            ("ws://host", "a:b", [], 'the gateway name "a:b" contains ":"'),
            ("ws://host", "a\u202eb", [], r'the gateway name "a\\u202eb" contains the invisible .* U\+202E'),
            ("ftp://host", "agent", [], "unknown scheme 'ftp'"),
            ([], "agent", [], "URL is missing"),
            ("ws://host", "agent", ["1:a:b"], "the destination's port is missing"),
            ("ws://host", "agent", ["1:a:b:1", "1:a:b:1"], "given twice"),
        ],
    )
    def test_what_cannot_be_meant(self, url: Any, name: str, rules: list[str], said: str) -> None:
        with pytest.raises(UsageError, match=said) as caught:
            Agent(url, name, rules)
        assert "\n" not in str(caught.value)

    def test_files_that_cannot_be_used_are_told_at_once(self, tmp_path: Path) -> None:
        options = AgentOptions(dial=DialOptions(tls=TLSOptions(ca_file=str(tmp_path / "missing.pem"))))
        with pytest.raises(UsageError, match=r"missing\.pem"):
            Agent("wss://host", "agent", options=options)

    def test_a_port_in_use_names_the_rule_and_frees_the_others(self, fake: FakeProxy) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken, socket.create_server(("127.0.0.1", 0)) as free:
            used, unused = taken.getsockname()[1], free.getsockname()[1]
            free.close()
            agent = Agent(fake.url, "agent", [f"{unused}:a:b:1", f"{used}:k@a:b:1"])
            with pytest.raises(ListenError) as caught:
                agent.start()
            assert str(caught.value).startswith(f"rule {used}:***@a:b:1: cannot listen on 127.0.0.1:{used}: Address")
            socket.create_server(("127.0.0.1", unused)).close()

    def test_start_tells_the_ports(self, fake: FakeProxy, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        agent = Agent(fake.url, "agent", [Rule(0, "a", "b", 1), "[::1]:0:a:b:1"])
        first, second = agent.start()
        assert first == (Rule(0, "a", "b", 1), "127.0.0.1", first[2]) and first[2] > 0
        assert second[1:] == ("::1", second[2])
        assert f"rule 0:a:b:1 listens on 127.0.0.1 port {first[2]}" in caplog.text
        agent.stop()


class TestGoingAway:
    def test_moves_before_it_lets_go(self, fake: FakeProxy) -> None:
        with started(fake.url, "agent", linked=False, options={"retry_first": 30.0}) as running:
            old = fake.accept()
            running.wait_linked()
            old.say(GoAway(10))
            new = fake.call()
            assert not old.link.closed
            new.accept()
            assert old.wait_end() == "moved to another link"
            running.wait_linked()
            assert not new.link.closed

    def test_tries_until_there_is_another(self, fake: FakeProxy) -> None:
        with started(fake.url, "agent", linked=False):
            old = fake.accept()
            fake.shut()
            old.say(GoAway(10))
            gevent.sleep(0.2)
            assert not old.link.closed
            fake.open()
            fake.accept()
            assert old.wait_end() == "moved to another link"

    def test_a_link_cut_meanwhile_is_a_loss_like_any_other(self, fake: FakeProxy) -> None:
        with started(fake.url, "agent", linked=False) as running:
            old = fake.accept()
            fake.shut()
            old.say(GoAway(10))
            old.cut()
            fake.open()
            fake.accept()
            running.wait_linked()

    def test_a_session_goes_along(self, fake: FakeProxy) -> None:
        with started(fake.url, "agent", RULE, linked=False) as running:
            old = fake.accept()
            with connect(running.port) as client:
                asked = old.open()
                client.sendall(b"hello")
                assert old.hear(Stream).payload == b"hello"
                old.say(GoAway(10))
                new = fake.accept()
                again = new.open(received=3)
                assert again.session == asked.session and again.terms is not None
                assert (again.terms.attempt, again.terms.resume) == (2, True)
                assert new.hear(Stream) == Stream(asked.session, False, 3, b"lo")


class TestMalformedMessages:
    def test_the_proxys_own_end_the_link(self, fake: FakeProxy, caplog: pytest.LogCaptureFixture) -> None:
        with started(fake.url, "agent", linked=False):
            call = fake.accept()
            call.say(b"\x02\x80nonsense")
            assert call.wait_end()
            fake.accept()
            assert logged(caplog, "malformed", logging.WARNING)()

    def test_what_a_proxy_never_says_ends_the_link(self, fake: FakeProxy) -> None:
        with started(fake.url, "agent", linked=False):
            call = fake.accept()
            call.say(Handshake("somebody"))
            assert "Handshake" in call.wait_end()
            fake.accept()

    @pytest.mark.parametrize("malformed", [b"\x13", b"\x11", b"\x15", b"\x19"])
    def test_another_agents_cost_its_session_only(self, fake: FakeProxy, malformed: bytes) -> None:
        with started(fake.url, "agent", RULE, linked=False) as running:
            call = fake.accept()
            with connect(running.port) as client, connect(running.port) as other:
                sessions = [call.open().session, call.open().session]
                client.sendall(b"1")
                first = call.hear(Stream).session
                call.say(malformed + first + b"?" * (malformed != b"\x11"))
                assert_reset(client, PATIENCE)
                reset = call.hear(Reset)
                assert (reset.session, reset.reason) == (first, ResetReason.PROTOCOL_ERROR)
                other.sendall(b"2")
                assert call.hear(Stream).session == next(each for each in sessions if each != first)

    def test_of_an_unknown_session_they_are_passed_over(self, fake: FakeProxy) -> None:
        with started(fake.url, "agent", linked=False):
            call = fake.accept()
            call.say(b"\x13" + bytes(16) + b"?")
            call.say(Initiator(bytes(16), "127.0.0.1", 1, "agent"))
            assert call.hear(Ack).session == bytes(16)


class TestStopping:
    def test_says_good_bye(self, fake: FakeProxy) -> None:
        with started(fake.url, "agent", linked=False) as running:
            call = fake.accept()
            running.wait_linked()
            running.agent.stop()
            assert call.wait_end() == "the agent was stopped"
            running.agent.stop()  # a second time does no harm
            running.agent.wait()
        assert fake.calls_waiting == 0

    def test_resets_sessions_on_both_sides(self, fake: FakeProxy) -> None:
        with started(fake.url, "agent", RULE, linked=False) as running:
            call = fake.accept()
            with connect(running.port) as client:
                session = call.open().session
                client.sendall(b"x")
                call.hear(Stream)
                running.agent.stop()
                assert call.hear(Reset) == Reset(session, False, ResetReason.AGENT_STOPPED, "the agent was stopped")
                assert_reset(client, PATIENCE)

    def test_a_reset_does_not_wait_behind_its_sessions_bytes(
        self, fake: FakeProxy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("hubble.transport.link.CLOSE_TIMEOUT", PATIENCE)
        with started(fake.url, "agent", RULE, linked=False) as running:
            call = fake.accept()
            with connect(running.port) as client:
                session = call.open().session
                call.freeze()
                client.sendall(bytes(900_000))
                link = running.agent._links.link
                assert link is not None
                poll(lambda: link.is_full(session), PATIENCE, "the lane is full")
                queued = link.queued(session)
                stopping = gevent.spawn(running.agent.stop)
                poll(lambda: link.queued(session) < queued, PATIENCE, "what was queued is thrown away")
                call.thaw()
                while isinstance(message := call.hear_any(), Stream):
                    pass
                assert message == Reset(session, False, ResetReason.AGENT_STOPPED, "the agent was stopped")
                stopping.get(timeout=PATIENCE)

    def test_resets_a_session_that_waits_for_its_path(self, fake: FakeProxy) -> None:
        with started(fake.url, "agent", RULE, linked=False) as running:
            call = fake.accept()
            with connect(running.port) as client:
                call.open()
                client.sendall(b"x")
                call.hear(Stream)
                fake.shut()
                call.cut()
                poll(lambda: running.agent._is_any_waiting(), PATIENCE, "the session waits")
                running.agent.stop()
                assert_reset(client, PATIENCE)

    def test_resets_a_connection_that_waits_for_a_link(self, nobody: str) -> None:
        with started(nobody, "agent", RULE, linked=False) as running, connect(running.port) as client:
            gevent.sleep(0.1)  # it is accepted
            running.agent.stop()
            assert_reset(client, PATIENCE)

    def test_closes_its_listeners(self, nobody: str) -> None:
        with started(nobody, "agent", RULE, linked=False) as running:
            running.agent.stop()
            with pytest.raises(ConnectionRefusedError):
                connect(running.port)

    def test_while_it_dials(self, fake: FakeProxy) -> None:
        with started(fake.url, "agent", linked=False) as running:
            fake.call()
            began = time.monotonic()
            running.agent.stop()
            running.agent.wait()
            assert time.monotonic() - began < 5


class Impatient(Event):
    """Notes for how long it was waited for, and does not wait; set after so many times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times
        self.waits: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.waits.append(timeout)
        if len(self.waits) == self.times:
            self.set()
        return True


def pauses_of(agent: Agent, attempts: int) -> list[float]:
    """How long an agent that fails to register waits each time."""
    agent._keeper._stopping = impatient = Impatient(attempts)
    agent.run()
    return impatient.waits


def test_the_defaults() -> None:
    defaults = AgentOptions()
    assert (defaults.retry_first, defaults.retry_most, defaults.link_wait, defaults.dial_timeout) == (0.5, 30, 10, 10)
