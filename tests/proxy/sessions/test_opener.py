from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import gevent
import msgpack
import pytest
from gevent.event import Event

from hubble.policy import Authorizer, ConnectionRequest, Decision, DenyAll, FunctionPolicy, granted
from hubble.protocol.codec import INITIATOR, session_text
from hubble.protocol.messages import Ack, Initiator, Refusal, Reset, ResetReason, Stream, Suspend, Terminator, Terms
from hubble.proxy.gateways import registry
from hubble.proxy.gateways.limits import AbuseLimits
from hubble.proxy.proxy import Proxy, ProxyOptions
from hubble.proxy.sessions import excess, opener, routes
from tests.support.speakers import (
    LIMIT,
    SECRET,
    Speaker,
    accept,
    agent,
    initiator,
    legacy_agent,
    new_session,
    opened,
    opened_legacy,
)
from tests.support.talk import PATIENCE

pytestmark = pytest.mark.usefixtures("quick_farewells")


@pytest.fixture
def ruled() -> Iterator[Callable[[Authorizer], tuple[Speaker, Speaker]]]:
    """An entry and an exit at a proxy with a policy."""
    proxies: list[Proxy] = []

    def start(policy: Authorizer) -> tuple[Speaker, Speaker]:
        proxy = Proxy("127.0.0.1:0", policy)
        proxies.append(proxy)
        proxy.start()
        return agent(proxy, "entry"), agent(proxy, "exit")

    yield start
    for proxy in proxies:
        proxy.stop()


def refusal(entry: Speaker, asked: Initiator) -> tuple[str, Refusal]:
    entry.say(asked)
    ack = entry.hear(Ack)
    assert ack.session == asked.session and not ack.ok
    return ack.message, ack.code


class TestThePolicy:
    def test_is_asked_with_all_there_is_to_know(self, ruled: Callable[..., tuple[Speaker, Speaker]]) -> None:
        asked: list[ConnectionRequest] = []

        def connect(request: ConnectionRequest) -> Decision:
            asked.append(request)
            return granted()

        entry, exit_agent = ruled(FunctionPolicy(connect))
        session = opened(entry, exit_agent, key="s3cret")
        places: dict[str, Any] = {
            "source": "entry",
            "source_ip": "192.0.2.1",
            "gateway": "exit",
            "host": "host",
            "port": 22,
        }
        assert asked == [ConnectionRequest(session=session_text(session), key="s3cret", **places)]

    def test_denies(self, ruled: Callable[..., tuple[Speaker, Speaker]]) -> None:
        entry, exit_agent = ruled(DenyAll())
        assert refusal(entry, initiator(new_session())) == ("Unauthorized", Refusal.UNAUTHORIZED)
        assert exit_agent.nothing_more() == []

    def test_is_asked_before_it_is_told_who_is_there(self, ruled: Callable[..., tuple[Speaker, Speaker]]) -> None:
        entry, _ = ruled(DenyAll())
        assert refusal(entry, initiator(new_session(), "nobody")) == ("Unauthorized", Refusal.UNAUTHORIZED)

    def test_that_raises_denies(
        self, ruled: Callable[..., tuple[Speaker, Speaker]], caplog: pytest.LogCaptureFixture
    ) -> None:
        def connect(request: ConnectionRequest) -> bool:
            raise RuntimeError("the database is down")

        entry, exit_agent = ruled(FunctionPolicy(connect))
        answer = refusal(entry, initiator(new_session(), key="s3cret"))
        assert answer == ("Authorization error.", Refusal.POLICY_ERROR)
        assert exit_agent.nothing_more() == []
        assert "the database is down" in caplog.text
        assert "s3cret" not in caplog.text

    def test_that_is_slow_holds_up_nothing_else(self, ruled: Callable[..., tuple[Speaker, Speaker]]) -> None:
        free = Event()

        def connect(request: ConnectionRequest) -> bool:
            return request.key != "slow" or free.wait(PATIENCE)

        entry, exit_agent = ruled(FunctionPolicy(connect))
        slow = new_session()
        entry.say(initiator(slow, key="slow"))
        quick = opened(entry, exit_agent)
        entry.say(Stream(quick, False, 0, b"hello"))
        assert exit_agent.hear(Stream).payload == b"hello"
        free.set()
        accept(exit_agent, slow)
        assert entry.hear(Ack).ok

    def test_is_asked_again_when_a_session_resumes(self, ruled: Callable[..., tuple[Speaker, Speaker]]) -> None:
        class Once(Authorizer):
            def connect(self, request: ConnectionRequest) -> Decision:
                return granted()

            def resume(self, request: ConnectionRequest) -> Decision:
                assert request.resumes
                return Decision(False, "Unauthorized")

        entry, exit_agent = ruled(Once())
        session = opened(entry, exit_agent)
        assert refusal(entry, initiator(session, attempt=2)) == ("Unauthorized", Refusal.UNAUTHORIZED)
        assert exit_agent.nothing_more() == []

    def test_an_entry_that_has_left_meanwhile_opens_nothing(
        self, ruled: Callable[..., tuple[Speaker, Speaker]]
    ) -> None:
        asked, free = Event(), Event()

        def connect(request: ConnectionRequest) -> bool:
            asked.set()
            return request.gateway != "exit" or free.wait(PATIENCE)

        entry, exit_agent = ruled(FunctionPolicy(connect))
        entry.say(initiator(new_session()))
        assert asked.wait(PATIENCE)
        entry.vanish()
        free.set()
        assert exit_agent.nothing_more() == []


class TestTheExit:
    def test_gets_the_initiator_with_a_mark_and_its_source(self, entry: Speaker, exit_agent: Speaker) -> None:
        session = new_session()
        asked = initiator(session, key="s3cret", received=7)
        entry.say(asked)
        passed_on = exit_agent.hear(Initiator)
        assert passed_on.path > 0
        assert passed_on == Initiator(
            session, "host", 22, "exit", "s3cret", Terms(1, 7, LIMIT, SECRET, False), passed_on.path, "entry"
        )

    def test_the_entrys_own_mark_and_source_are_not_believed(self, entry: Speaker, exit_agent: Speaker) -> None:
        session = new_session()
        entry.say(initiator(session, path=99, source="somebody else"))
        passed_on = accept(exit_agent, session)
        assert passed_on.path not in (0, 99) and passed_on.source == "entry"
        assert entry.hear(Ack).path == 0

    def test_its_answer_reaches_the_entry_without_the_mark(self, entry: Speaker, exit_agent: Speaker) -> None:
        session = new_session()
        entry.say(initiator(session))
        path = exit_agent.hear(Initiator).path
        exit_agent.say(Ack(session, True, terms=Terms(1, 3, 4), path=path))
        assert entry.hear(Ack) == Ack(session, True, terms=Terms(1, 3, 4))

    def test_its_refusal_reaches_the_entry(self, proxy: Proxy, entry: Speaker, exit_agent: Speaker) -> None:
        session = new_session()
        entry.say(initiator(session))
        path = exit_agent.hear(Initiator).path
        exit_agent.say(Ack(session, False, "connection refused", Refusal.DIAL_FAILED, path=path))
        assert entry.hear(Ack) == Ack(session, False, "connection refused", Refusal.DIAL_FAILED)
        assert len(proxy.routes) == 0

    def test_that_is_unknown(self, entry: Speaker) -> None:
        answer = refusal(entry, initiator(new_session(), "nobody"))
        assert answer == ("Gateway not registered", Refusal.NO_GATEWAY)

    def test_that_leaves_before_it_answers(self, entry: Speaker, exit_agent: Speaker) -> None:
        session = new_session()
        entry.say(initiator(session))
        exit_agent.hear(Initiator)
        exit_agent.vanish()
        assert entry.hear(Ack) == Ack(session, False, "the link of the gateway was lost; try again", Refusal.BUSY)

    def test_that_returns_is_waited_for(self, proxy: Proxy, entry: Speaker, exit_agent: Speaker) -> None:
        exit_agent.vanish()
        session = new_session()
        entry.say(initiator(session))
        assert entry.nothing_more() == []
        accept(agent(proxy, "exit"), session)
        assert entry.hear(Ack).ok

    def test_that_does_not_return_is_not_waited_for_for_long(
        self, entry: Speaker, exit_agent: Speaker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(registry, "PATIENCE", 0.2)
        exit_agent.vanish()
        assert refusal(entry, initiator(new_session()))[1] is Refusal.NO_GATEWAY

    def test_that_may_return_is_waited_for_by_a_bounded_number(
        self, entry: Speaker, exit_agent: Speaker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(registry, "MOST_WAITING", 1)
        exit_agent.vanish()
        entry.say(initiator(new_session()))
        assert refusal(entry, initiator(new_session()))[1] is Refusal.NO_GATEWAY

    def test_that_never_answers_is_forgotten(
        self, proxy: Proxy, entry: Speaker, exit_agent: Speaker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(routes, "ANSWER_TIMEOUT", 0.0)
        for _ in range(3):
            entry.say(initiator(new_session()))
            exit_agent.hear(Initiator)
        gateway = proxy.gateways.get("entry")
        assert gateway is not None
        assert proxy.routes.of(gateway).unanswered.count == 1

    def test_whose_answer_finds_no_entry_any_more_is_told(self, entry: Speaker, exit_agent: Speaker) -> None:
        session = new_session()
        entry.say(initiator(session))
        path = exit_agent.hear(Initiator).path
        entry.vanish()
        exit_agent.say(Ack(session, True, terms=Terms(1, 0, LIMIT), path=path))
        assert exit_agent.hear(Suspend) == Suspend(session, False)  # or it would keep the session for nothing

    def test_so_is_one_of_protocol_0_1(self, old_entry: Speaker, old_exit: Speaker) -> None:
        session = new_session()
        old_entry.say(Initiator(session, "host", 22, "old exit"))
        old_exit.hear(Initiator)
        old_entry.vanish()
        old_exit.say(Ack(session, True))
        assert old_exit.hear(Terminator) == Terminator(session)

    def test_a_late_answer_does_not_undo_the_next_attempt(self, proxy: Proxy, exit_agent: Speaker) -> None:
        entry, session = agent(proxy, "entry"), new_session()
        entry.say(initiator(session))
        late = exit_agent.hear(Initiator)
        entry.vanish()
        entry = agent(proxy, "entry")
        entry.say(initiator(session, attempt=2, resume=False))
        asked = exit_agent.hear(Initiator)
        exit_agent.say(Ack(session, True, terms=Terms(1, 0, LIMIT), path=late.path))
        exit_agent.say(Ack(session, True, terms=Terms(2, 0, LIMIT), path=asked.path))
        assert entry.hear(Ack).ok
        assert exit_agent.nothing_more() == []

    def test_an_unsolicited_answer_opens_nothing(self, proxy: Proxy, exit_agent: Speaker) -> None:
        session = new_session()
        exit_agent.say(Ack(session, True, terms=Terms(1, 0, LIMIT), path=5))
        exit_agent.say(Ack(session, False, "no", path=5))
        assert exit_agent.nothing_more() == [Suspend(session, False)]
        assert len(proxy.routes) == 0

    def test_a_second_answer_does_nothing(self, proxy: Proxy, entry: Speaker, exit_agent: Speaker) -> None:
        session = new_session()
        entry.say(initiator(session))
        asked = accept(exit_agent, session)
        exit_agent.say(Ack(session, False, "no, after all", path=asked.path))
        assert entry.hear(Ack).ok
        assert entry.nothing_more() == []
        assert len(proxy.routes) == 1

    def test_may_be_the_entry_itself(self, proxy: Proxy) -> None:
        both = agent(proxy, "both")
        session = opened(both, both, "both")
        both.say(Stream(session, False, 0, b"there"))
        assert both.hear(Stream) == Stream(session, False, 0, b"there")
        both.say(Stream(session, True, 0, b"and back"))
        assert both.hear(Stream) == Stream(session, True, 0, b"and back")

    def test_may_be_the_entry_itself_but_not_in_protocol_0_1(self, proxy: Proxy) -> None:
        both = legacy_agent(proxy, "both")
        answer = refusal(both, Initiator(new_session(), "host", 22, "both"))
        assert answer == ("an agent that speaks protocol 0.1 cannot reach itself", Refusal.BAD_REQUEST)
        assert both.nothing_more() == []


class TestProtocol01:
    def test_an_old_exit_gets_no_new_fields(self, entry: Speaker, old_exit: Speaker) -> None:
        session = new_session()
        entry.say(initiator(session, "old exit", key="s3cret"))
        assert old_exit.hear(Initiator) == Initiator(session, "host", 22, "old exit", "s3cret")
        old_exit.say(Ack(session, True))
        assert entry.hear(Ack) == Ack(session, True)

    def test_an_old_entry_may_reach_our_exit(self, old_entry: Speaker, exit_agent: Speaker) -> None:
        opened_legacy(old_entry, exit_agent)

    def test_an_old_exit_is_never_asked_to_resume(self, entry: Speaker, old_exit: Speaker) -> None:
        # It would open a new session, though the policy was asked whether an old one may go on.
        answer = refusal(entry, initiator(new_session(), "old exit", attempt=2))
        assert answer == ("the exit does not know the session", Refusal.UNKNOWN_SESSION)
        assert old_exit.nothing_more() == []

    def test_an_exit_cannot_make_an_old_entrys_session_resumable(self, old_entry: Speaker, exit_agent: Speaker) -> None:
        session = new_session()
        old_entry.say(Initiator(session, "host", 22, "exit"))
        assert exit_agent.hear(Initiator).terms is None


class TestUntilTheExitAccepts:
    def test_nothing_flows(self, entry: Speaker, exit_agent: Speaker) -> None:
        session = new_session()
        entry.say(initiator(session))
        exit_agent.hear(Initiator)
        entry.say(Stream(session, False, 0, b"too early"))
        assert entry.hear(Suspend) == Suspend(session, True)
        assert exit_agent.nothing_more() == []

    def test_the_older_route_stays(self, proxy: Proxy, exit_agent: Speaker) -> None:
        entry = agent(proxy, "entry")
        session = opened(entry, exit_agent)
        entry.say(initiator(session, attempt=2))
        asked = exit_agent.hear(Initiator)
        entry.say(Stream(session, False, 0, b"by the older one"))
        assert exit_agent.hear(Stream).payload == b"by the older one"
        exit_agent.say(Ack(session, False, "no", Refusal.UNKNOWN_SESSION, path=asked.path))
        assert not entry.hear(Ack).ok
        entry.say(Stream(session, False, 16, b"as before"))
        assert exit_agent.hear(Stream).payload == b"as before"

    def test_an_entry_that_gives_up_is_heard(self, entry: Speaker, exit_agent: Speaker) -> None:
        session = new_session()
        entry.say(initiator(session))
        asked = exit_agent.hear(Initiator)
        entry.say(Reset(session, False, ResetReason.LOCAL_RESET, "gone"))
        assert exit_agent.hear(Reset).text == "gone"
        exit_agent.say(Ack(session, True, terms=Terms(1, 0, LIMIT), path=asked.path))
        assert exit_agent.hear(Suspend) == Suspend(session, False)
        assert exit_agent.nothing_more() == [] and entry.nothing_more() == []


class TestAttackers:
    """Agents of the same proxy that know a session's id, but not its secret."""

    @pytest.fixture
    def thief(self, proxy: Proxy) -> Speaker:
        return agent(proxy, "thief")

    def still_works(self, entry: Speaker, exit_agent: Speaker, session: bytes) -> None:
        assert entry.nothing_more() == [] and exit_agent.nothing_more() == []
        entry.say(Stream(session, False, 0, b"hello"))
        assert exit_agent.hear(Stream) == Stream(session, False, 0, b"hello")
        exit_agent.say(Stream(session, True, 0, b"world"))
        assert entry.hear(Stream) == Stream(session, True, 0, b"world")

    def test_cannot_take_it_as_its_entry(self, entry: Speaker, exit_agent: Speaker, thief: Speaker) -> None:
        session = opened(entry, exit_agent)
        message, code = refusal(thief, initiator(session, attempt=9, secret=bytes(16)))
        assert (message, code) == ("the session belongs to other agents", Refusal.BAD_REQUEST)
        self.still_works(entry, exit_agent, session)

    def test_cannot_take_it_with_an_exit_of_their_own(
        self, proxy: Proxy, entry: Speaker, exit_agent: Speaker, thief: Speaker
    ) -> None:
        agent(proxy, "accomplice")
        session = opened(entry, exit_agent)
        assert refusal(thief, initiator(session, "accomplice"))[1] is Refusal.BAD_REQUEST
        self.still_works(entry, exit_agent, session)

    def test_cannot_lay_a_route_that_was_proposed_in_time(
        self, proxy: Proxy, entry: Speaker, exit_agent: Speaker, thief: Speaker
    ) -> None:
        accomplice = agent(proxy, "accomplice")
        session = new_session()
        thief.say(initiator(session, "accomplice", secret=bytes(16)))
        asked = accomplice.hear(Initiator)
        opened(entry, exit_agent, session=session)
        accomplice.say(Ack(session, True, terms=Terms(1, 0, LIMIT), path=asked.path))
        assert accomplice.nothing_more() != []
        self.still_works(entry, exit_agent, session)

    def test_cannot_lay_it_as_the_exit_of_its_own_entry(
        self, proxy: Proxy, entry: Speaker, exit_agent: Speaker
    ) -> None:
        other_exit = agent(proxy, "other exit")
        session = opened(entry, exit_agent)
        assert refusal(entry, initiator(session, "other exit", attempt=2))[1] is Refusal.BAD_REQUEST
        assert other_exit.nothing_more() == []
        self.still_works(entry, exit_agent, session)

    def test_cannot_answer_in_the_exits_place(self, entry: Speaker, exit_agent: Speaker, thief: Speaker) -> None:
        session = new_session()
        entry.say(initiator(session))
        asked = exit_agent.hear(Initiator)
        thief.say(Ack(session, True, terms=Terms(1, 0, LIMIT), path=asked.path))
        assert thief.nothing_more() == [Suspend(session, False)]
        assert entry.nothing_more() == []
        exit_agent.say(Ack(session, True, terms=Terms(1, 0, LIMIT), path=asked.path))
        assert entry.hear(Ack).ok
        self.still_works(entry, exit_agent, session)

    def test_cannot_take_a_session_of_protocol_0_1(
        self, proxy: Proxy, old_entry: Speaker, old_exit: Speaker, thief: Speaker
    ) -> None:
        session = opened_legacy(old_entry, old_exit, "old exit")
        assert refusal(thief, Initiator(session, "host", 22, "old exit"))[1] is Refusal.BAD_REQUEST
        assert refusal(legacy_agent(proxy, "old thief"), Initiator(session, "host", 22, "old exit"))[1] is (
            Refusal.BAD_REQUEST
        )
        assert old_exit.nothing_more() == [] and len(proxy.routes) == 1

    def test_cannot_take_one_that_is_being_opened_in_protocol_0_1(
        self, proxy: Proxy, old_entry: Speaker, old_exit: Speaker
    ) -> None:
        session = new_session()
        old_entry.say(Initiator(session, "host", 22, "old exit"))
        old_exit.hear(Initiator)
        thief = legacy_agent(proxy, "old thief")
        assert refusal(thief, Initiator(session, "host", 22, "old exit"))[1] is Refusal.BAD_REQUEST
        old_exit.say(Ack(session, True))
        assert old_entry.hear(Ack).ok
        assert thief.nothing_more() == []


def test_a_denial_is_logged_without_the_key(
    ruled: Callable[..., tuple[Speaker, Speaker]], caplog: pytest.LogCaptureFixture
) -> None:
    entry, _ = ruled(DenyAll())
    with caplog.at_level(logging.DEBUG):
        refusal(entry, initiator(new_session(), key="s3cret"))
    assert "entry to exit:host:22 denied" in caplog.text
    assert "s3cret" not in caplog.text and SECRET.hex() not in caplog.text


def test_a_crowd_opens_at_once(proxy: Proxy, entry: Speaker, exit_agent: Speaker) -> None:
    # The original crashes with some tens of connections at once.
    sessions = [new_session() for _ in range(300)]
    for session in sessions:
        entry.say(initiator(session))
    for _ in sessions:
        asked = exit_agent.hear(Initiator)
        exit_agent.say(Ack(asked.session, True, terms=Terms(1, 0, LIMIT), path=asked.path))
    assert {entry.hear(Ack).session for _ in sessions} == set(sessions)
    assert len(proxy.routes) == 300
    gevent.idle()


class TestTheLimits:
    """On what one gateway may open, whatever it calls it."""

    @pytest.fixture
    def bounded(self) -> Iterator[Callable[..., tuple[Speaker, Speaker]]]:
        """An entry and an exit at a proxy with limits, and perhaps a policy."""
        proxies: list[Proxy] = []

        def start(policy: Authorizer | None = None, **limits: int) -> tuple[Speaker, Speaker]:
            proxy = Proxy("127.0.0.1:0", policy, options=ProxyOptions(limits=AbuseLimits(**limits)))
            proxies.append(proxy)
            proxy.start()
            return agent(proxy, "entry"), agent(proxy, "exit")

        yield start
        for proxy in proxies:
            proxy.stop()

    @pytest.mark.parametrize("resume", [False, True])
    def test_sessions_are_counted_however_they_are_called(
        self, bounded: Callable[..., tuple[Speaker, Speaker]], resume: bool
    ) -> None:
        entry, exit_agent = bounded(sessions=1)
        opened(entry, exit_agent)
        assert refusal(entry, initiator(new_session(), resume=resume))[1] is Refusal.LIMIT

    def test_a_session_that_is_asked_about_counts(self, bounded: Callable[..., tuple[Speaker, Speaker]]) -> None:
        free = Event()
        entry, exit_agent = bounded(FunctionPolicy(lambda request: free.wait(PATIENCE)), sessions=1)
        first = new_session()
        entry.say(initiator(first))
        assert refusal(entry, initiator(new_session()))[1] is Refusal.LIMIT
        free.set()
        accept(exit_agent, first)
        assert entry.hear(Ack).ok

    def test_a_session_may_resume_while_its_old_route_is_there(
        self, bounded: Callable[..., tuple[Speaker, Speaker]]
    ) -> None:
        entry, exit_agent = bounded(sessions=1)
        session = opened(entry, exit_agent)
        opened(entry, exit_agent, session=session, attempt=2)

    @pytest.mark.parametrize("resume", [True, False])
    def test_retries_beyond_the_rate_are_refused_as_busy(
        self, bounded: Callable[..., tuple[Speaker, Speaker]], resume: bool
    ) -> None:
        entry, _ = bounded(sessions_per_second=1)
        codes = [refusal(entry, initiator(new_session(), "nobody", attempt=2, resume=resume))[1] for _ in range(4)]
        assert Refusal.BUSY in codes
        assert set(codes) <= {Refusal.NO_GATEWAY, Refusal.BUSY}

    def test_what_is_new_and_too_fast_is_refused(self, bounded: Callable[..., tuple[Speaker, Speaker]]) -> None:
        entry, _ = bounded(sessions_per_second=1)
        codes = [refusal(entry, initiator(new_session(), "nobody"))[1] for _ in range(4)]
        assert Refusal.LIMIT in codes

    def test_beyond_the_rate_no_policy_is_asked_and_one_refusal_a_second_is_reported(
        self, bounded: Callable[..., tuple[Speaker, Speaker]], caplog: pytest.LogCaptureFixture
    ) -> None:
        asked: list[ConnectionRequest] = []

        def grant(request: ConnectionRequest) -> bool:
            asked.append(request)
            return True

        entry, _ = bounded(FunctionPolicy(grant), sessions_per_second=20)
        started = time.monotonic()
        with caplog.at_level(logging.INFO):
            codes = [refusal(entry, initiator(new_session(), "nobody"))[1] for _ in range(100)]
        seconds = time.monotonic() - started
        assert len(asked) == codes.count(Refusal.NO_GATEWAY) <= 40 + 20 * (seconds + 1)
        assert seconds > 1.0, "the link was read on and on"
        told = [each for each in caplog.records if re.search("not opened from .*: entry opens more", each.getMessage())]
        assert 1 < len(told) <= seconds + 1
        assert re.search(r"\(\d\d sessions refused\)", told[1].getMessage())

    def test_who_does_not_stop_is_cut_off(
        self, bounded: Callable[..., tuple[Speaker, Speaker]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(excess, "PATIENCE", 1)
        entry, _ = bounded(sessions_per_second=5)
        for _ in range(100):
            entry.say(initiator(new_session(), "nobody"))
        assert entry.wait_end() == "entry opens more than 5 sessions a second"

    @pytest.mark.parametrize(
        ("bound", "most", "key"), [("MOST_UNANSWERED", 3, ""), ("MOST_UNANSWERED_BYTES", 3 * 4096, "k" * 3500)]
    )
    @pytest.mark.parametrize("is_asked", [False, True], ids=["by the exit", "by the policy"])
    def test_unanswered_sessions_are_bounded(
        self,
        bounded: Callable[..., tuple[Speaker, Speaker]],
        monkeypatch: pytest.MonkeyPatch,
        bound: str,
        most: int,
        key: str,
        is_asked: bool,
    ) -> None:
        monkeypatch.setattr(opener, bound, most)
        free = Event()
        entry, exit_agent = bounded(FunctionPolicy(lambda request: not is_asked or free.wait(PATIENCE)))
        sessions = [new_session() for _ in range(3)]
        for session in sessions:
            entry.say(initiator(session, key=key))
        message, code = refusal(entry, initiator(new_session(), key=key))
        assert (message, code) == ("entry already waits for answers about 3 sessions", Refusal.LIMIT)
        free.set()
        for session in sessions:
            accept(exit_agent, session)
            assert entry.hear(Ack).ok
        opened(entry, exit_agent)


class TestInvalid:
    """An Initiator that can be refused by itself, and by its session."""

    BODY: ClassVar[dict[str, object]] = {"RemoteHost": "h", "RemotePort": 1, "Gatename": "exit", "Key": "a\0b"}

    def invalid(self, **changes: object) -> tuple[str, bytes]:
        session = str(uuid.uuid4())
        body = msgpack.packb({**self.BODY, "GUID": session, **changes}, use_bin_type=False)
        return session, bytes([INITIATOR]) + body

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({}, "Key contains a control character"),
            ({"Key": "k", "RemoteHost": "a\rb"}, "RemoteHost contains a control character"),
            ({"Key": "k", "Gatename": "a\nb"}, "Gatename contains a control character"),
            ({"Key": "k", "RemotePort": 70000}, "RemotePort is not a whole number from 0 to 65535"),
        ],
    )
    def test_costs_its_session_only(
        self, entry: Speaker, exit_agent: Speaker, changes: dict[str, object], said: str
    ) -> None:
        session, data = self.invalid(**changes)
        entry.say(data)
        ack = entry.hear(Ack)
        assert (session_text(ack.session), ack.ok, ack.code) == (session, False, Refusal.BAD_REQUEST)
        assert ack.message == said
        opened(entry, exit_agent)
        assert exit_agent.nothing_more() == []

    def test_too_many_hold_back_the_link_and_then_end_it(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(excess, "PATIENCE", 1)
        proxy = Proxy("127.0.0.1:0", options=ProxyOptions(limits=AbuseLimits(sessions_per_second=3)))
        proxy.start()
        speaker = agent(proxy, "entry")
        for _ in range(20):
            speaker.say(self.invalid()[1])
        assert "control character" in speaker.wait_end()
        assert 1 <= caplog.text.count("invalid Initiator from entry: Key contains a control character") <= 4
        proxy.stop()
