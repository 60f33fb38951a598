from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import gevent
import pytest

from hubble.protocol.codec import decode, encode
from hubble.protocol.fairqueue import Caps
from hubble.protocol.messages import (
    Ack,
    ConnectionClosed,
    Credit,
    Data,
    Done,
    Eof,
    Initiator,
    Message,
    Refusal,
    Reset,
    ResetReason,
    Stream,
    Suspend,
    Terminator,
    Terms,
)
from hubble.proxy.proxy import Proxy
from hubble.proxy.sessions import relay
from hubble.proxy.sessions.routes import MOST_IN_FLIGHT
from tests.support.speakers import (
    LIMIT,
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
from tests.support.waiting import poll

pytestmark = pytest.mark.usefixtures("quick_farewells")

BLOCK = bytes(64 * 1024)
VECTORS = json.loads((Path(__file__).parents[2] / "protocol" / "vectors" / "wire-0.1.json").read_text())

SCENARIOS = sorted({each["scenario"] for each in VECTORS})


@pytest.fixture
def session(entry: Speaker, exit_agent: Speaker) -> bytes:
    """A session of ours between `entry` and `exit_agent`."""
    return opened(entry, exit_agent)


@pytest.fixture
def old_session(old_entry: Speaker, old_exit: Speaker) -> bytes:
    """A session of protocol 0.1 between `old_entry` and `old_exit`."""
    return opened_legacy(old_entry, old_exit, "old exit")


def of_entry(session: bytes) -> list[Message]:
    """One message of each kind, as the entry sends them."""
    return [
        Stream(session, False, 0, b"hello"),
        Credit(session, False, 3, 5),
        Eof(session, False, 5),
        Suspend(session, False),
    ]


class TestPassingOn:
    @pytest.mark.parametrize("number", range(4))
    def test_each_kind_reaches_the_other_end_as_it_is(
        self, entry: Speaker, exit_agent: Speaker, session: bytes, number: int
    ) -> None:
        message = of_entry(session)[number]
        entry.say(message)
        assert exit_agent.hear(type(message)) == message
        assert exit_agent.raw[-1] == encode(message)
        assert entry.nothing_more() == []

    def test_so_does_what_the_exit_says(self, entry: Speaker, exit_agent: Speaker, session: bytes) -> None:
        for message in (Stream(session, True, 7, b"answer"), Credit(session, True, 3, 5), Eof(session, True, 13)):
            exit_agent.say(message)
            assert entry.hear(type(message)) == message

    def test_sessions_do_not_mix(self, entry: Speaker, exit_agent: Speaker) -> None:
        first, second = opened(entry, exit_agent), opened(entry, exit_agent)
        for number in range(10):
            entry.say(Stream(first, False, number, b"1"))
            entry.say(Stream(second, False, number, b"2"))
        heard = [exit_agent.hear(Stream) for _ in range(20)]
        for session, payload in ((first, b"1"), (second, b"2")):
            mine = [each for each in heard if each.session == session]
            assert [each.offset for each in mine] == list(range(10))
            assert {bytes(each.payload) for each in mine} == {payload}

    def test_credit_overtakes_bytes(self, entry: Speaker, exit_agent: Speaker) -> None:
        bulk, other = opened(entry, exit_agent), opened(entry, exit_agent)
        exit_agent.freeze()
        for number in range(32):
            entry.say(Stream(bulk, False, number * len(BLOCK), BLOCK))
        entry.nothing_more()
        entry.say(Credit(other, False, 1, 2))
        entry.nothing_more()
        exit_agent.thaw()
        before = 0
        while isinstance(exit_agent.hear_any(), Stream):
            before += 1
        assert before < 16  # what the kernel and the writer had taken

    def test_a_message_that_is_none_of_the_links_sessions_is_dropped(
        self, proxy: Proxy, entry: Speaker, exit_agent: Speaker, session: bytes
    ) -> None:
        thief = agent(proxy, "thief")
        messages = [*of_entry(session), Reset(session, False, ResetReason.LOCAL_RESET), Done(session, False)]
        for message in messages:
            thief.say(message)
            thief.say(encode(message)[:0] + bytes([encode(message)[0] | 1]) + encode(message)[1:])
        assert set(thief.nothing_more()) == {Suspend(session, True), Suspend(session, False)}
        assert entry.nothing_more() == [] and exit_agent.nothing_more() == []
        assert len(proxy.routes) == 1

    def test_an_end_cannot_speak_for_the_other(
        self, proxy: Proxy, entry: Speaker, exit_agent: Speaker, session: bytes
    ) -> None:
        entry.say(Stream(session, True, 0, b"as if the exit had said it"))
        entry.say(Reset(session, True, ResetReason.LOCAL_RESET))
        assert entry.nothing_more() == [Suspend(session, False)]
        assert exit_agent.nothing_more() == []
        assert len(proxy.routes) == 1

    def test_old_agents_are_not_sent_what_they_do_not_know(self, old_entry: Speaker, exit_agent: Speaker) -> None:
        session = opened_legacy(old_entry, exit_agent)
        exit_agent.say(Stream(session, True, 0, b"unknown"))
        assert exit_agent.nothing_more() == [Suspend(session, False)]
        assert old_entry.nothing_more() == []


class TestWithoutARoute:
    def test_bytes_are_answered_once(self, entry: Speaker) -> None:
        session = new_session()
        for number in range(5):
            entry.say(Stream(session, False, number, b"x"))
        entry.say(Eof(session, False, 5))
        assert entry.nothing_more() == [Suspend(session, True)]

    def test_the_rest_is_not_answered(self, entry: Speaker) -> None:
        session = new_session()
        for message in (
            Credit(session, False, 1, 2),
            Reset(session, False, ResetReason.LOCAL_RESET),
            Done(session, False),
            Suspend(session, False),
        ):
            entry.say(message)
        assert entry.nothing_more() == []

    def test_bytes_are_answered_again_after_an_attempt_to_open(self, entry: Speaker, exit_agent: Speaker) -> None:
        session = new_session()
        for attempt in (1, 2):
            entry.say(Stream(session, False, 0, b"x"))
            assert entry.hear(Suspend) == Suspend(session, True)
            entry.say(initiator(session, attempt=attempt))
            asked = exit_agent.hear(Initiator)
            exit_agent.say(Ack(session, False, "no", path=asked.path))
            entry.hear(Ack)

    def test_late_bytes_of_an_exit_that_is_asked_to_resume_do_not_undo_that(
        self, proxy: Proxy, exit_agent: Speaker
    ) -> None:
        # They were sent over the lost path. A Suspend now would reach the exit after the Initiator, and would undo
        # what that is about to set up, while the entry takes the session for resumed.
        entry = agent(proxy, "entry", instance=b"i" * 16, epoch=1)
        session = opened(entry, exit_agent)
        entry.vanish()
        assert exit_agent.hear(Suspend) == Suspend(session, False)
        entry = agent(proxy, "entry", instance=b"i" * 16, epoch=2)
        entry.say(initiator(session, attempt=2))
        asked = exit_agent.hear(Initiator)
        exit_agent.say(Stream(session, True, 0, b"was on its way"))
        assert exit_agent.nothing_more() == []
        exit_agent.say(Ack(session, True, terms=Terms(2, 0, LIMIT), path=asked.path))
        assert entry.hear(Ack).ok
        exit_agent.say(Stream(session, True, 0, b"again"))
        assert entry.hear(Stream).payload == b"again"


class TestEnds:
    def test_a_lost_exit_suspends_the_entry(self, entry: Speaker, exit_agent: Speaker, session: bytes) -> None:
        exit_agent.vanish()
        assert entry.hear(Suspend) == Suspend(session, True)

    def test_a_lost_entry_suspends_the_exit(
        self, proxy: Proxy, entry: Speaker, exit_agent: Speaker, session: bytes
    ) -> None:
        entry.vanish()
        assert exit_agent.hear(Suspend) == Suspend(session, False)
        assert exit_agent.nothing_more() == []
        assert len(proxy.routes) == 0

    def test_only_sessions_of_the_lost_link_are_suspended(
        self, proxy: Proxy, entry: Speaker, exit_agent: Speaker
    ) -> None:
        other = agent(proxy, "other")
        lost, kept = opened(other, exit_agent), opened(entry, exit_agent)
        other.vanish()
        assert exit_agent.nothing_more() == [Suspend(lost, False)]
        entry.say(Stream(kept, False, 0, b"x"))
        assert exit_agent.hear(Stream).session == kept

    def test_an_old_link_that_dies_late_does_not_harm_its_successor(self, proxy: Proxy, exit_agent: Speaker) -> None:
        entry = agent(proxy, "entry", instance=b"i" * 16, epoch=1)
        session = opened(entry, exit_agent)
        returned = agent(proxy, "entry", instance=b"i" * 16, epoch=2)
        returned.say(initiator(session, attempt=2))
        accept_after_suspend(exit_agent, session)
        assert returned.hear(Ack).ok
        entry.wait_end()
        returned.say(Stream(session, False, 0, b"x"))
        assert exit_agent.hear(Stream).session == session

    def test_a_reset_ends_the_session(self, proxy: Proxy, entry: Speaker, exit_agent: Speaker, session: bytes) -> None:
        exit_agent.say(Reset(session, True, ResetReason.LOCAL_RESET, "Connection reset by peer"))
        assert entry.hear(Reset) == Reset(session, True, ResetReason.LOCAL_RESET, "Connection reset by peer")
        assert len(proxy.routes) == 0
        entry.say(Stream(session, False, 0, b"x"))
        assert entry.hear(Suspend) == Suspend(session, True)
        assert exit_agent.nothing_more() == []

    def test_a_reset_overtakes_its_sessions_bytes(self, entry: Speaker, exit_agent: Speaker) -> None:
        session, other = opened(entry, exit_agent), opened(entry, exit_agent)
        exit_agent.freeze()
        for number in range(32):
            entry.say(Stream(session, False, number * len(BLOCK), BLOCK))
        entry.say(Stream(other, False, 0, b"not thrown away"))
        entry.nothing_more()
        entry.say(Reset(session, False, ResetReason.LOCAL_RESET))
        entry.nothing_more()
        exit_agent.thaw()
        heard = exit_agent.nothing_more()
        assert len([each for each in heard if isinstance(each, Stream) and each.session == session]) < 16
        assert Stream(other, False, 0, b"not thrown away") in heard
        assert Reset(session, False, ResetReason.LOCAL_RESET) in heard

    def test_done_from_both_ends_the_session(
        self, proxy: Proxy, entry: Speaker, exit_agent: Speaker, session: bytes
    ) -> None:
        entry.say(Done(session, False))
        assert exit_agent.hear(Done) == Done(session, False)
        assert len(proxy.routes) == 1
        entry.say(Done(session, False))
        exit_agent.hear(Done)
        assert len(proxy.routes) == 1
        exit_agent.say(Done(session, True))
        assert entry.hear(Done) == Done(session, True)
        assert len(proxy.routes) == 0

    def test_a_session_within_one_agent_ends_with_its_link(self, proxy: Proxy) -> None:
        both = agent(proxy, "both")
        opened(both, both, "both")
        assert len(proxy.routes) == 1
        both.vanish()
        assert len(proxy.routes) == 0


class TestCredit:
    """What a receiver grants is known to the proxy, which refuses what exceeds it: its queues are bounded by that."""

    @pytest.mark.parametrize("from_exit", [False, True])
    def test_bytes_beyond_it_reset_the_session(
        self, proxy: Proxy, entry: Speaker, exit_agent: Speaker, session: bytes, from_exit: bool
    ) -> None:
        sender, receiver = (exit_agent, entry) if from_exit else (entry, exit_agent)
        sender.say(Stream(session, from_exit, LIMIT - 3, b"all"))
        assert receiver.hear(Stream).payload == b"all"
        sender.say(Stream(session, from_exit, LIMIT - 3, b"more"))
        for end in (entry, exit_agent):
            assert end.hear(Reset).reason is ResetReason.PROTOCOL_ERROR
        assert len(proxy.routes) == 0

    def test_more_of_it_is_heeded(self, entry: Speaker, exit_agent: Speaker, session: bytes) -> None:
        exit_agent.say(Credit(session, True, 0, LIMIT + 1))
        entry.hear(Credit)
        entry.say(Stream(session, False, LIMIT - 3, b"more"))
        assert exit_agent.hear(Stream).payload == b"more"

    def test_credit_that_is_held_back_is_not_granted(
        self, proxy: Proxy, entry: Speaker, exit_agent: Speaker, session: bytes
    ) -> None:
        exit_agent.freeze()
        for number in range(32):
            entry.say(Stream(session, False, number * len(BLOCK), BLOCK))
        assert entry.nothing_more() == []
        exit_agent.say(Credit(session, True, 1, LIMIT + 1))
        assert exit_agent.link.probe(0.1) is False
        entry.say(Stream(session, False, LIMIT, b"x"))
        assert entry.hear(Reset).reason is ResetReason.PROTOCOL_ERROR

    def test_a_receiver_that_grants_too_much_is_not_taken_at_its_word(
        self, proxy: Proxy, entry: Speaker, exit_agent: Speaker
    ) -> None:
        session = new_session()
        entry.say(initiator(session, limit=1 << 40))
        asked = exit_agent.hear(Initiator)
        assert asked.terms is not None and asked.terms.limit == MOST_IN_FLIGHT
        exit_agent.say(Ack(session, True, terms=Terms(1, 5, 1 << 40), path=asked.path))
        ack = entry.hear(Ack)
        assert ack.terms is not None and ack.terms.limit == 5 + MOST_IN_FLIGHT
        exit_agent.say(Credit(session, True, 7, 1 << 40))
        assert entry.hear(Credit) == Credit(session, True, 7, 7 + MOST_IN_FLIGHT)

    def test_a_receiver_that_grants_more_and_reads_nothing_costs_what_was_in_flight(
        self, proxy: Proxy, entry: Speaker, exit_agent: Speaker, session: bytes
    ) -> None:
        """Though it says that it has got everything."""
        other = opened(entry, exit_agent)
        exit_agent.freeze()
        offset = 0
        while proxy.routes.get(session) is not None and offset < 4 * LIMIT:
            exit_agent.say(Credit(session, True, offset, offset + LIMIT))
            entry.say(Stream(session, False, offset, BLOCK))
            offset += len(BLOCK)
            if not offset % (16 * len(BLOCK)):
                entry.nothing_more()
        assert LIMIT <= offset < 2 * LIMIT
        assert proxy.routes.get(other) is not None

    @pytest.mark.parametrize("message", [Eof, Done])
    def test_messages_without_bytes_are_bounded_too(
        self,
        proxy: Proxy,
        entry: Speaker,
        exit_agent: Speaker,
        session: bytes,
        message: Callable[..., Message],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        gateway = proxy.gateways.get("exit")
        assert gateway is not None
        exit_agent.freeze()
        said = message(session, False, 1) if message is Eof else message(session, False)
        for _ in range(400):
            for _ in range(1000):
                entry.say(said)
            entry.nothing_more()
            if proxy.routes.get(session) is None:
                break
        assert proxy.routes.get(session) is None
        assert not gateway.link.closed

    def test_credits_do_not_pile_up(self, proxy: Proxy, entry: Speaker, exit_agent: Speaker, session: bytes) -> None:
        entry.freeze()
        gateway = proxy.gateways.get("entry")
        assert gateway is not None
        for received in range(20_000):
            exit_agent.say(Credit(session, True, received, received + LIMIT))
        exit_agent.nothing_more()
        assert gateway.link.queued_bytes < 100_000

    def test_unread_answers_close_the_link(self, proxy: Proxy, entry: Speaker) -> None:
        gateway = proxy.gateways.get("entry")
        assert gateway is not None
        entry.freeze()
        for _ in range(Caps().urgent // 40):
            entry.link.send(encode(Stream(new_session(), False, 0, b"x")), "everything in order")
        poll(lambda: gateway.link.closed, PATIENCE, "the link is closed")
        assert "of answers unread" in gateway.link.why

    @pytest.mark.parametrize("data", [b"", b"\0" * 17])
    def test_a_malformed_one_ends_the_link(self, entry: Speaker, session: bytes, data: bytes) -> None:
        entry.say(bytes([0x12]) + session + data)
        assert "CREDIT" in entry.wait_end()


class TestHeldCredit:
    def test_credit_is_kept_back_while_its_queue_is_long(
        self, entry: Speaker, exit_agent: Speaker, session: bytes
    ) -> None:
        exit_agent.freeze()
        for number in range(32):
            entry.say(Stream(session, False, number * len(BLOCK), BLOCK))
        assert entry.nothing_more() == []
        for received in (1, 2, 3):
            exit_agent.say(Credit(session, True, received, received + LIMIT))
        assert exit_agent.link.probe(0.1) is False  # it is frozen, and what it said is there
        assert entry.nothing_more() == []
        exit_agent.thaw()
        assert entry.hear(Credit) == Credit(session, True, 3, 3 + LIMIT)
        assert entry.nothing_more() == []

    def test_credit_of_others_is_not(self, entry: Speaker, exit_agent: Speaker, session: bytes) -> None:
        other = opened(entry, exit_agent)
        exit_agent.freeze()
        for number in range(32):
            entry.say(Stream(session, False, number * len(BLOCK), BLOCK))
        assert entry.nothing_more() == []
        exit_agent.say(Credit(other, True, 1, LIMIT))
        assert entry.hear(Credit).session == other


class TestProtocol01:
    """What the original's agents say and hear. Recorded in tests/protocol/vectors/wire-0.1.json."""

    @pytest.mark.parametrize(
        "scenario", [name for name in {each["scenario"] for each in VECTORS} if name[0] in "123456"]
    )
    def test_goes_as_recorded(self, proxy: Proxy, scenario: str) -> None:
        speakers = {"entry agent": legacy_agent(proxy, "agent1")}
        if not scenario.startswith("3"):
            speakers["exit agent"] = legacy_agent(proxy, "agent2")
        recorded = [each for each in VECTORS if each["scenario"] == scenario]
        starts = {name: len(speaker.raw) for name, speaker in speakers.items()}

        def heard(name: str) -> list[bytes]:
            return [without_code(data) for data in speakers[name].raw[starts[name] :]]

        def arrives(message: dict[str, str]) -> None:
            expected = bytes.fromhex(message["hex"])
            poll(lambda: expected in heard(message["receiver"]), PATIENCE, f"{message} arrives")

        from_proxy = [each for each in recorded if each["sender"] == "proxy"]
        for each in recorded:
            if each["receiver"] == "proxy":
                speakers[each["sender"]].say(bytes.fromhex(each["hex"]))
                for passed_on in from_proxy:
                    if passed_on["hex"] == each["hex"]:
                        arrives(passed_on)
        for each in from_proxy:
            arrives(each)
        for name, speaker in speakers.items():
            assert [it for it in speaker.nothing_more() if not getattr(it, "session", None)] == []
            meant = [bytes.fromhex(each["hex"]) for each in from_proxy if each["receiver"] == name]
            # The original says Terminator again for each ConnectionClosed; once is enough.
            assert heard(name)[:-1] == list(dict.fromkeys(meant))

    def test_data_and_its_end_reach_the_other_side(
        self, proxy: Proxy, old_entry: Speaker, old_exit: Speaker, old_session: bytes
    ) -> None:
        old_entry.say(Data(old_session, 1, b"hello"))
        old_exit.say(Data(old_session, 1, b"HELLO"))
        assert old_entry.hear(Data) == Data(old_session, 1, b"HELLO")
        old_entry.say(Data(old_session, 2, b""))
        old_entry.say(ConnectionClosed(old_session))
        assert [old_exit.hear(Data) for _ in range(2)] == [Data(old_session, 1, b"hello"), Data(old_session, 2, b"")]
        assert old_exit.hear(Terminator) == Terminator(old_session)
        assert old_entry.hear(Terminator) == Terminator(old_session)
        assert len(proxy.routes) == 0

    def test_nothing_before_a_terminator_is_lost(
        self, old_entry: Speaker, old_exit: Speaker, old_session: bytes
    ) -> None:
        for order in range(1, 201):
            old_exit.say(Data(old_session, order, bytes(1024)))
        old_exit.say(ConnectionClosed(old_session))
        assert [old_entry.hear(Data).order for _ in range(200)] == list(range(1, 201))
        old_entry.hear(Terminator)

    def test_a_lost_link_terminates_its_sessions(
        self, old_entry: Speaker, old_exit: Speaker, old_session: bytes
    ) -> None:
        old_exit.vanish()
        assert old_entry.hear(Terminator) == Terminator(old_session)
        assert old_entry.nothing_more() == []

    def test_a_session_with_one_new_end_is_one_of_0_1(self, entry: Speaker, old_exit: Speaker) -> None:
        session = new_session()
        entry.say(initiator(session, "old exit"))
        accept(old_exit, session)
        assert entry.hear(Ack) == Ack(session, True)
        entry.say(Data(session, 1, b"hello"))
        assert old_exit.hear(Data) == Data(session, 1, b"hello")
        old_exit.vanish()
        assert entry.hear(Terminator) == Terminator(session)

    def test_data_of_an_unknown_session_is_answered_once(self, old_entry: Speaker) -> None:
        session = new_session()
        for order in range(1, 4):
            old_entry.say(Data(session, order, b"x"))
        old_entry.say(ConnectionClosed(session))
        old_entry.say(Terminator(session))
        assert old_entry.nothing_more() == [Terminator(session)]

    def test_strangers_are_not_heard(
        self, proxy: Proxy, old_entry: Speaker, old_exit: Speaker, old_session: bytes
    ) -> None:
        thief = legacy_agent(proxy, "thief")
        thief.say(Data(old_session, 1, b"forged"))
        thief.say(ConnectionClosed(old_session))
        thief.say(Terminator(old_session))
        assert thief.nothing_more() == [Terminator(old_session)]
        assert old_entry.nothing_more() == old_exit.nothing_more() == []
        assert len(proxy.routes) == 1

    def test_an_agent_cannot_terminate(
        self, proxy: Proxy, old_entry: Speaker, old_exit: Speaker, old_session: bytes
    ) -> None:
        old_entry.say(Terminator(old_session))
        assert old_entry.nothing_more() == old_exit.nothing_more() == []
        assert len(proxy.routes) == 1

    def test_closing_says_nothing_of_a_session_of_ours(
        self, proxy: Proxy, entry: Speaker, exit_agent: Speaker, session: bytes
    ) -> None:
        entry.say(ConnectionClosed(session))
        assert entry.nothing_more() == exit_agent.nothing_more() == []
        assert len(proxy.routes) == 1


class TestStalledReceivers:
    """Protocol 0.1 has no credit: the sender's link waits for the receiver, but not for ever."""

    @pytest.fixture(autouse=True)
    def short_queue(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(relay, "LEGACY_BACKLOG", 256 * 1024)

    def send_much(self, old_entry: Speaker, session: bytes, count: int = 64) -> None:
        for order in range(1, count + 1):
            old_entry.say(Data(session, order, BLOCK))

    def test_a_slow_one_loses_nothing(
        self, old_entry: Speaker, old_exit: Speaker, old_session: bytes, proxy: Proxy
    ) -> None:
        old_exit.freeze()
        self.send_much(old_entry, old_session)
        gateway = proxy.gateways.get("old exit")
        assert gateway is not None
        poll(lambda: proxy.routes.of(gateway).room, PATIENCE, "the sender waits")
        assert gateway.link.queued(old_session) < 2 * relay.LEGACY_BACKLOG
        old_exit.thaw()
        assert [old_exit.hear(Data).order for _ in range(64)] == list(range(1, 65))
        assert not proxy.routes.of(gateway).room

    def test_a_stalled_one_ends_its_session_only(
        self, old_entry: Speaker, old_exit: Speaker, old_session: bytes, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(relay, "STALL_TIMEOUT", 0.2)
        other_exit = legacy_agent(proxy, "other exit")
        other = opened_legacy(old_entry, other_exit, "other exit")
        old_exit.freeze()
        self.send_much(old_entry, old_session)
        old_entry.say(Data(other, 1, b"not held up for ever"))
        assert old_entry.hear(Terminator) == Terminator(old_session)
        assert other_exit.hear(Data).data == b"not held up for ever"
        old_exit.thaw()
        while isinstance(message := old_exit.hear_any(), Data):
            pass
        assert message == Terminator(old_session)

    def test_one_that_vanishes_does_not_block_others(
        self, old_entry: Speaker, old_exit: Speaker, old_session: bytes, proxy: Proxy
    ) -> None:
        old_exit.freeze()
        self.send_much(old_entry, old_session)
        gateway = proxy.gateways.get("old exit")
        assert gateway is not None
        poll(lambda: proxy.routes.of(gateway).room, PATIENCE, "the sender waits")
        old_exit.vanish()
        with gevent.Timeout(relay.STALL_TIMEOUT / 2):
            assert set(old_entry.nothing_more()) == {Terminator(old_session)}


def without_code(data: bytes) -> bytes:
    """A message as the original would have said it: with no reason for programs in an Ack."""
    message = decode(data)
    return encode(dataclasses.replace(message, code=Refusal.UNSPECIFIED)) if isinstance(message, Ack) else data


def accept_after_suspend(exit_agent: Speaker, session: bytes) -> None:
    """The exit accepts; that the older path is gone, it may or may not have heard before."""
    message = exit_agent.hear_any()
    if isinstance(message, Suspend):
        message = exit_agent.hear_any()
    assert isinstance(message, Initiator) and message.terms is not None
    exit_agent.say(Ack(session, True, terms=Terms(message.terms.attempt, 0, LIMIT), path=message.path))
