from __future__ import annotations

import logging
from collections.abc import Iterator

import gevent
import pytest

from hubble.base.errors import UsageError
from hubble.policy import (
    Authorizer,
    ConnectionRequest,
    Decision,
    FunctionPolicy,
    RegistrationRequest,
    busy,
    denied,
    granted,
)
from hubble.protocol.messages import RESUMABLE, Ack, Data, GoAway, Handshake, Initiator, Refusal
from hubble.proxy.gateways.admission import Caller
from hubble.proxy.gateways.limits import AbuseLimits
from hubble.proxy.proxy import Proxy, ProxyOptions
from hubble.transport.bind import parse_listen
from tests.support.speakers import Speaker, agent, introduced, legacy_agent, new_session, opened, our_hello
from tests.support.talk import PATIENCE

pytestmark = pytest.mark.usefixtures("quick_farewells")


def refused(proxy: Proxy, hello: Handshake) -> Ack:
    speaker, ack = introduced(proxy, hello)
    assert not ack.ok
    assert speaker.wait_end() == "refused"
    assert proxy.gateways.get(hello.name) is None
    return ack


class TestAdmission:
    def test_ours_is_answered_with_the_features(self, proxy: Proxy) -> None:
        _, ack = introduced(proxy, our_hello("agent"))
        assert ack == Ack(b"", True, features=frozenset({RESUMABLE}))

    def test_protocol_0_1_is_answered_in_its_own_words(self, proxy: Proxy) -> None:
        _, ack = introduced(proxy, Handshake("agent", "key"))
        assert ack == Ack(b"", True)

    @pytest.mark.parametrize("version", ["0.2", "", "1"])
    def test_another_version_is_refused(self, proxy: Proxy, version: str) -> None:
        ack = refused(proxy, Handshake("agent", version=version))
        assert (ack.message, ack.code) == ("Invalid protocol version", Refusal.VERSION)

    @pytest.mark.parametrize("name", ["", "x" * 256, "a\nb", "\x85", "\0", "a\u202eb", " a", "a:b", "a@b", "e\u0301"])
    def test_an_impossible_name_is_refused(self, proxy: Proxy, name: str) -> None:
        assert refused(proxy, Handshake(name)).code is Refusal.BAD_REQUEST

    @pytest.mark.parametrize("name", ["x", "x" * 255, "ü/ agent", "工作"])
    def test_any_other_name_is_not(self, proxy: Proxy, name: str) -> None:
        legacy_agent(proxy, name)
        assert proxy.gateways.get(name) is not None

    @pytest.mark.parametrize("speaks", ["0.1", "extension"])
    def test_the_refusal_names_what_is_wrong(self, proxy: Proxy, speaks: str, caplog: pytest.LogCaptureFixture) -> None:
        ack = refused(proxy, Handshake("a\u200bb") if speaks == "0.1" else our_hello("a\u200bb"))
        assert ack.message == r'the gateway name "a\u200bb" contains the invisible or unassigned character U+200B'
        assert ack.message in caplog.text

    def test_a_key_with_a_control_character_is_refused_and_not_shown(self, proxy: Proxy) -> None:
        ack = refused(proxy, our_hello("agent", key="sek\nret"))
        assert (ack.message, ack.code) == ("the key contains a control character", Refusal.BAD_REQUEST)

    def test_a_policy_that_is_busy_denies_nothing(self) -> None:
        proxy = Proxy(authorizer=FunctionPolicy(lambda request: True, lambda request: busy("too much to do")))
        ack = refused(proxy, our_hello("agent"))
        assert (ack.message, ack.code) == ("busy, try again", Refusal.BUSY)

    def test_a_malformed_handshake_is_answered_with_a_refusal(self, proxy: Proxy) -> None:
        speaker = Speaker(proxy)
        speaker.link.send(b"\x01\x81\xa4Name\xa3\xff\xff\xff")
        ack = speaker.hear(Ack)
        assert (ack.ok, ack.code, ack.message) == (False, Refusal.BAD_REQUEST, "Name is not UTF-8")
        assert speaker.wait_end() == "refused"

    def test_a_name_of_mixed_scripts_is_warned_of(self, proxy: Proxy, caplog: pytest.LogCaptureFixture) -> None:
        agent(proxy, "p\u0430ypal")
        assert "gateway p\u0430ypal: the name mixes letters of Cyrillic and Latin" in caplog.text
        caplog.clear()
        agent(proxy, "工作 office")
        assert "mixes" not in caplog.text

    def test_the_name_is_gone_with_the_link(self, proxy: Proxy, entry: Speaker) -> None:
        assert proxy.gateways.get("entry") is not None
        entry.vanish()
        assert proxy.gateways.get("entry") is None


class TestPolicy:
    def test_is_asked_with_all_there_is_to_know(self) -> None:
        asked: list[RegistrationRequest] = []

        def register(request: RegistrationRequest) -> Decision:
            asked.append(request)
            return granted()

        proxy = Proxy("127.0.0.1:0", FunctionPolicy(lambda request: True, register))
        proxy.start()
        agent(proxy, "agent", key="s3cret", address="192.0.2.7")
        proxy.stop()
        assert asked == [RegistrationRequest("agent", "s3cret", "192.0.2.7", "", {})]

    def test_refuses(self) -> None:
        proxy = Proxy("127.0.0.1:0", FunctionPolicy(lambda request: True, lambda request: request.key == "right"))
        proxy.start()
        ack = refused(proxy, our_hello("agent", key="wrong"))
        assert (ack.message, ack.code) == ("Unauthorized", Refusal.UNAUTHORIZED)
        agent(proxy, "agent", key="right")
        proxy.stop()

    def test_that_raises_refuses_without_a_word_on_why(self, caplog: pytest.LogCaptureFixture) -> None:
        def register(request: RegistrationRequest) -> bool:
            raise RuntimeError("the database is down")

        proxy = Proxy("127.0.0.1:0", FunctionPolicy(lambda request: True, register))
        proxy.start()
        ack = refused(proxy, our_hello("agent", key="s3cret"))
        proxy.stop()
        assert (ack.message, ack.code) == ("Authorization error.", Refusal.POLICY_ERROR)
        assert "the database is down" in caplog.text
        assert "s3cret" not in caplog.text

    def test_an_identity_it_gives_is_known_when_sessions_are_asked_for(self) -> None:
        asked: list[ConnectionRequest] = []

        class Policy(Authorizer):
            def register(self, request: RegistrationRequest) -> Decision:
                return granted(identity=f"{request.name}'s owner")

            def connect(self, request: ConnectionRequest) -> Decision:
                asked.append(request)
                return denied()

        proxy = Proxy("127.0.0.1:0", Policy())
        proxy.start()
        entry = agent(proxy, "entry")
        entry.say(Initiator(new_session(), "host", 22, "exit"))
        entry.hear(Ack)
        proxy.stop()
        assert asked[0].identity == "entry's owner"


class TestBadBeginnings:
    @pytest.mark.parametrize(
        "said",
        [
            Ack(b"", True),
            Data(bytes(16), 1, b"x"),
            b"",
            b"\x01",
            b"\x01\xc0",
            b"\x63hello",
            bytes(70_000),
            b"\x10" + bytes(40),
        ],
    )
    def test_end_the_link(self, proxy: Proxy, said: Ack | Data | bytes) -> None:
        speaker = Speaker(proxy)
        speaker.say(said)
        assert speaker.wait_end()
        assert len(proxy.gateways) == 0

    def test_saying_nothing_ends_the_link_in_time(self) -> None:
        proxy = Proxy("127.0.0.1:0", options=ProxyOptions(hello_timeout=0.2))
        proxy.start()
        speaker = Speaker(proxy)
        assert speaker.wait_end() == "no Handshake within 0.2 s"
        agent(proxy, "agent").say(b"\x99")
        proxy.stop()

    def test_introducing_oneself_twice_ends_the_link(self, proxy: Proxy, entry: Speaker) -> None:
        entry.say(our_hello("entry"))
        assert "Handshake" in entry.wait_end()
        assert proxy.gateways.get("entry") is None

    @pytest.mark.parametrize("said", [b"", b"\x10short", b"\x02\x80garbage", b"\x99\x80", b"\x20\x00\x01"])
    def test_a_malformed_message_later_ends_that_link_only(
        self, entry: Speaker, exit_agent: Speaker, said: bytes
    ) -> None:
        entry.say(said)
        assert entry.wait_end()
        assert exit_agent.nothing_more() == []


class TestLeaving:
    def test_stopping_ends_every_link(self, proxy: Proxy, entry: Speaker, old_exit: Speaker) -> None:
        proxy.stop()
        assert entry.wait_end() == old_exit.wait_end() == "the proxy is shutting down"
        proxy.stop()  # a second time does no harm
        proxy.wait()

    def test_draining_has_agents_go_elsewhere_first(self, proxy: Proxy, entry: Speaker, old_exit: Speaker) -> None:
        draining = gevent.spawn(proxy.drain, 0.3)
        assert entry.hear(GoAway) == GoAway(0)
        assert not draining.ready()
        entry.vanish()
        draining.join(PATIENCE)
        assert old_exit.wait_end() == "the proxy is shutting down"  # protocol 0.1 knows no GoAway

    def test_who_comes_while_draining_is_sent_elsewhere_too(self, proxy: Proxy) -> None:
        """Its connection was accepted before: at once, or another worker would have it."""
        late = Speaker(proxy)
        draining = gevent.spawn(proxy.drain, PATIENCE)
        gevent.idle()
        late.say(our_hello("late"))
        assert late.hear(Ack).ok
        assert late.hear(GoAway) == GoAway(0)
        assert not draining.ready()
        late.vanish()
        draining.join(PATIENCE)
        assert draining.successful()

    def test_sessions_work_while_draining(self, proxy: Proxy, entry: Speaker, exit_agent: Speaker) -> None:
        draining = gevent.spawn(proxy.drain, PATIENCE)
        entry.hear(GoAway)
        exit_agent.hear(GoAway)
        opened(entry, exit_agent)
        entry.vanish()
        exit_agent.vanish()
        draining.join(PATIENCE)
        assert draining.successful()


class TestAddresses:
    @pytest.mark.parametrize(
        "text, meant",
        [
            (":8080", ("", 8080)),
            ("127.0.0.1:0", ("127.0.0.1", 0)),
            ("[::1]:443", ("::1", 443)),
            ("localhost:65535", ("localhost", 65535)),
        ],
    )
    def test_to_listen_on(self, text: str, meant: tuple[str, int]) -> None:
        assert parse_listen(text) == meant

    @pytest.mark.parametrize("text", ["", "8080", ":", ":65536", "::1:80", "host:http", ":-1", "[::1]"])
    def test_that_cannot_be(self, text: str) -> None:
        with pytest.raises(UsageError, match="should look like :8080"):
            parse_listen(text)

    def test_headers_of_the_upgrade_are_known_by_their_names(self) -> None:
        caller = Caller.from_environ({"REMOTE_ADDR": "192.0.2.1", "HTTP_X_API_KEY": "s3cret", "PATH_INFO": "/"})
        assert (caller.address, caller.headers) == ("192.0.2.1", {"x-api-key": "s3cret"})
        assert "s3cret" not in repr(caller)


def test_registrations_are_logged_without_keys(proxy: Proxy, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        agent(proxy, "agent", key="s3cret", instance=b"instance is mine").vanish()
    assert "gateway agent registered from 192.0.2.1" in caplog.text
    assert "gateway agent unregistered" in caplog.text
    assert "s3cret" not in caplog.text and "instance is mine" not in caplog.text


class TestTheRateOfOneAddress:
    @pytest.fixture
    def full(self) -> Iterator[Proxy]:
        """A proxy that has let in the agent `known` (instance 1, epoch 5), and no other from its address for now."""
        proxy = Proxy("127.0.0.1:0", options=ProxyOptions(limits=AbuseLimits(registrations_per_minute=1)))
        proxy.start()
        agent(proxy, "known", instance=b"1" * 16, epoch=5)
        yield proxy
        proxy.stop()

    def test_newcomers_are_refused_beyond_it(self, full: Proxy) -> None:
        assert introduced(full, our_hello("new"))[1].code is Refusal.LIMIT

    def test_an_agent_that_has_its_name_still_may_return(self, full: Proxy) -> None:
        """Many behind one address move at once when a successor takes over, or a worker has too many."""
        for epoch in (6, 7, 8):
            agent(full, "known", instance=b"1" * 16, epoch=epoch)

    @pytest.mark.parametrize(("instance", "epoch"), [(b"2" * 16, 6), (b"1" * 16, 5), (b"", 6)])
    def test_who_merely_says_so_is_refused(self, full: Proxy, instance: bytes, epoch: int) -> None:
        assert introduced(full, our_hello("known", instance=instance, epoch=epoch))[1].code is Refusal.LIMIT


def test_links_that_have_not_registered_are_limited_in_number() -> None:
    proxy = Proxy("127.0.0.1:0", options=ProxyOptions(limits=AbuseLimits(strangers=2)))
    proxy.start()
    first, second = Speaker(proxy), Speaker(proxy)
    gevent.idle()  # both are served
    third = Speaker(proxy)
    assert third.wait_end()
    first.say(our_hello("known"))
    assert first.hear(Ack).ok
    agent(proxy, "another")
    second.link.abort("cut by the test")
    proxy.stop()
