"""Sessions that an agent opens, for connections to its rules."""

from __future__ import annotations

import dataclasses
import logging
import struct
import time
from collections.abc import Iterator

import gevent
import pytest
from gevent import socket

from hubble.protocol import session as session_module
from hubble.protocol.messages import (
    Ack,
    ConnectionClosed,
    Credit,
    Data,
    Done,
    Eof,
    Initiator,
    Refusal,
    Reset,
    ResetReason,
    Stream,
    Suspend,
    Terminator,
    Terms,
)
from tests.support.agents import Started, started
from tests.support.fakeproxy import LIMIT, Call, FakeProxy
from tests.support.services import receive_all, receive_exactly
from tests.support.sockets import assert_reset, connect
from tests.support.talk import PATIENCE
from tests.support.waiting import poll

pytestmark = pytest.mark.usefixtures("quick_farewells")

RULE = "0:s3cret@exit:host:22"
DATA = bytes(range(256)) * 1000
"""As much as the first credit allows, nearly."""
ABORTIVE = (socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.fixture
def entry(fake: FakeProxy) -> Iterator[Started]:
    """An agent with one rule, not let in by the proxy yet."""
    with started(fake.url, "entry", RULE, linked=False) as running:
        yield running


@pytest.fixture
def call(fake: FakeProxy, entry: Started) -> Call:
    """The agent's link, on which the proxy has let it in."""
    call = fake.accept()
    entry.wait_linked()
    return call


@pytest.fixture
def client(call: Call, entry: Started) -> Iterator[socket.socket]:
    """A connection to the rule's port."""
    with connect(entry.port) as sock:
        yield sock


@pytest.fixture
def session(call: Call, client: socket.socket) -> bytes:
    """The client's session, which the exit has accepted."""
    return call.open().session


class TestOpening:
    def test_asks_for_what_the_rule_says(self, call: Call, client: socket.socket) -> None:
        asked = call.hear(Initiator)
        assert asked.terms is not None
        assert dataclasses.replace(asked, terms=None) == Initiator(asked.session, "host", 22, "exit", "s3cret")
        assert (asked.terms.attempt, asked.terms.received, asked.terms.limit) == (1, 0, 256 * 1024)
        assert not asked.terms.resume
        assert len(asked.terms.secret) == 16 and asked.terms.secret != bytes(16)

    def test_sessions_have_ids_and_secrets_of_their_own(self, call: Call, entry: Started) -> None:
        with connect(entry.port), connect(entry.port):
            first, second = call.hear(Initiator), call.hear(Initiator)
        assert first.session != second.session
        assert first.terms is not None and second.terms is not None and first.terms.secret != second.terms.secret

    def test_nothing_flows_before_the_exit_has_accepted(self, call: Call, client: socket.socket) -> None:
        client.sendall(b"impatient")
        asked = call.hear(Initiator)
        call.say(Ack(bytes(16), True))  # somebody else's
        call.say(Ack(asked.session, True, terms=Terms(1, 0, 4)))
        assert call.hear(ConnectionClosed) == ConnectionClosed(bytes(16))
        assert call.hear(Stream) == Stream(asked.session, False, 0, b"impa")  # as far as the credit goes

    def test_a_refusal_is_a_reset_for_the_application(
        self, call: Call, client: socket.socket, entry: Started, caplog: pytest.LogCaptureFixture
    ) -> None:
        asked = call.hear(Initiator)
        call.say(Ack(asked.session, False, "cannot connect to host:22: Connection refused", Refusal.DIAL_FAILED))
        assert_reset(client, PATIENCE)
        assert "cannot connect to host:22: Connection refused" in caplog.text
        assert "s3cret" not in caplog.text
        assert entry.sessions() == 0

    def test_no_answer_is_a_reset_in_the_end(self, call: Call, entry: Started, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(session_module, "OPEN_TIMEOUT", 0.2)
        with connect(entry.port) as client:
            call.hear(Initiator)
            assert_reset(client, PATIENCE)

    def test_an_answer_that_comes_after_that_is_turned_down(
        self, call: Call, entry: Started, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(session_module, "OPEN_TIMEOUT", 0.2)
        with connect(entry.port) as client:
            asked = call.hear(Initiator)
            assert_reset(client, PATIENCE)
        call.say(Ack(asked.session, True, terms=Terms(1, 0, LIMIT)))
        assert call.hear(Reset) == Reset(asked.session, False, ResetReason.UNKNOWN_SESSION)
        call.say(Ack(asked.session, True))
        assert call.hear(ConnectionClosed) == ConnectionClosed(asked.session)


class TestWithoutALink:
    def test_a_connection_waits_for_it(self, fake: FakeProxy, entry: Started) -> None:
        with connect(entry.port) as client:
            client.sendall(b"hello")
            gevent.sleep(0.1)
            call = fake.accept()
            call.open()
            assert call.hear(Stream).payload == b"hello"

    def test_but_not_for_ever(self, fake: FakeProxy, caplog: pytest.LogCaptureFixture) -> None:
        with (
            started(fake.url, "entry", RULE, linked=False, options={"link_wait": 0.2}) as entry,
            connect(entry.port) as client,
        ):
            began = time.monotonic()
            assert_reset(client, PATIENCE)
            assert time.monotonic() - began > 0.15
            assert ": no link to the proxy within 0.2 s" in caplog.text

    def test_listeners_stay_open(self, fake: FakeProxy, call: Call, entry: Started) -> None:
        fake.shut()
        call.cut()
        poll(lambda: entry.agent._links.link is None, PATIENCE, "the link is lost")
        with connect(entry.port):
            fake.open()
            fake.accept().hear(Initiator)


class TestBytes:
    def test_go_both_ways(self, call: Call, client: socket.socket, session: bytes) -> None:
        client.sendall(b"hello")
        assert call.hear(Stream) == Stream(session, False, 0, b"hello")
        client.sendall(b"world")
        assert call.hear(Stream) == Stream(session, False, 5, b"world")
        call.say(Stream(session, True, 0, b"and "))
        call.say(Stream(session, True, 4, b"back"))
        assert receive_exactly(client, 8) == b"and back"

    def test_stop_where_the_credit_ends(self, call: Call, client: socket.socket) -> None:
        asked = call.hear(Initiator)
        call.say(Ack(asked.session, True, terms=Terms(1, 0, 10)))
        client.sendall(b"0123456789abcdef")
        assert call.hear(Stream).payload == b"0123456789"
        call.say(Credit(asked.session, True, 10, 12))
        assert call.hear(Stream) == Stream(asked.session, False, 10, b"ab")

    @pytest.fixture
    def slow(self, call: Call, entry: Started, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
        """A connection of which the kernels take only some KB ahead of its reader."""
        monkeypatch.setattr(
            "hubble.agent.entry.set_tcp_options",
            lambda sock: sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192),
        )
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.settimeout(PATIENCE)
            client.connect(("127.0.0.1", entry.port))
            yield client

    def test_arrive_whole_at_a_slow_application(self, call: Call, slow: socket.socket) -> None:
        session = self.pour(call, slow, DATA)
        call.say(Eof(session, True, len(DATA)))
        assert receive_all(slow) == DATA[1:]

    def test_that_an_application_does_not_read_hold_up_no_other(
        self, call: Call, slow: socket.socket, entry: Started
    ) -> None:
        self.pour(call, slow, DATA)
        with connect(entry.port) as other:
            asked = call.hear_any()
            while not isinstance(asked, Initiator):
                asked = call.hear_any()
            call.say(Ack(asked.session, True, terms=Terms(1, 0, LIMIT)))
            call.say(Stream(asked.session, True, 0, b"x"))
            assert receive_exactly(other, 1) == b"x"

    def pour(self, call: Call, slow: socket.socket, data: bytes) -> bytes:
        """Send much to an application, which reads the first byte only; its session."""
        session = call.open().session
        call.say(Stream(session, True, 0, data[:1]))
        assert receive_exactly(slow, 1) == data[:1]  # the agent's writer is idle again
        for offset in range(1, len(data), 60_000):
            call.say(Stream(session, True, offset, data[offset : offset + 60_000]))
        return session

    def test_that_were_consumed_are_credited(self, call: Call, client: socket.socket, session: bytes) -> None:
        for offset in range(0, 128 * 1024, 32 * 1024):
            call.say(Stream(session, True, offset, bytes(32 * 1024)))
        received = gevent.spawn(receive_exactly, client, 128 * 1024)
        credit = call.hear(Credit)
        assert credit.session == session and not credit.from_exit
        assert credit.limit >= 256 * 1024 + credit.received > 256 * 1024
        received.get(timeout=PATIENCE)

    def test_beyond_the_credit_reset_the_session(self, call: Call, client: socket.socket, session: bytes) -> None:
        call.say(Stream(session, True, 0, bytes(256 * 1024 + 1)))
        assert call.hear(Reset).reason is ResetReason.PROTOCOL_ERROR
        assert_reset(client, PATIENCE)

    def test_behind_a_gap_are_asked_for_again(self, call: Call, client: socket.socket, session: bytes) -> None:
        call.say(Stream(session, True, 0, b"abc"))
        call.say(Stream(session, True, 4, b"e"))
        assert call.hear(Suspend) == Suspend(session, False)
        assert call.open(received=0).session == session
        call.say(Stream(session, True, 3, b"de"))
        assert receive_exactly(client, 5) == b"abcde"

    def test_of_an_unknown_session_are_answered_once(self, call: Call, fake: FakeProxy, entry: Started) -> None:
        unknown, old = bytes(16), b"o" * 16
        for offset in range(3):
            call.say(Stream(unknown, True, offset, b"x"))
            call.say(Data(old, offset + 1, b"x"))
        assert call.hear(Reset) == Reset(unknown, False, ResetReason.UNKNOWN_SESSION)
        assert call.hear(ConnectionClosed) == ConnectionClosed(old)
        call.cut()
        again = fake.accept()
        again.say(Stream(unknown, True, 3, b"x"))
        assert again.hear(Reset).session == unknown


class TestEnds:
    def test_the_clients_end_is_passed_on_and_it_still_receives(
        self, call: Call, client: socket.socket, session: bytes
    ) -> None:
        client.sendall(b"question")
        client.shutdown(socket.SHUT_WR)
        assert call.hear(Stream).payload == b"question"
        assert call.hear(Eof) == Eof(session, False, 8)
        call.say(Stream(session, True, 0, b"answer"))
        call.say(Eof(session, True, 6))
        assert receive_all(client) == b"answer"

    def test_the_services_end_is_passed_on_and_the_client_still_sends(
        self, call: Call, client: socket.socket, session: bytes
    ) -> None:
        call.say(Eof(session, True, 0))
        assert receive_all(client) == b""
        client.sendall(b"still here")
        heard = [call.hear_any(), call.hear_any()]
        assert Stream(session, False, 0, b"still here") in heard
        assert any(isinstance(each, Credit) and each.received == 1 for each in heard)

    def test_a_session_is_over_when_both_have_consumed_all(
        self, call: Call, client: socket.socket, session: bytes, entry: Started
    ) -> None:
        client.shutdown(socket.SHUT_WR)
        call.hear(Eof)
        call.say(Eof(session, True, 0))
        call.hear(Credit)
        call.say(Credit(session, True, 1, LIMIT))
        assert call.hear(Done) == Done(session, False)
        assert entry.sessions() == 1
        call.say(Done(session, True))
        poll(lambda: entry.sessions() == 0, PATIENCE, "the session is over")

    def test_a_local_reset_is_passed_on(self, call: Call, client: socket.socket, session: bytes) -> None:
        client.sendall(b"x")
        call.hear(Stream)
        client.setsockopt(*ABORTIVE)
        client.close()
        assert call.hear(Reset) == Reset(session, False, ResetReason.LOCAL_RESET, "Connection reset by peer")

    def test_a_remote_reset_is_a_reset(
        self, call: Call, client: socket.socket, session: bytes, entry: Started, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.INFO):
            call.say(Reset(session, True, ResetReason.LOCAL_RESET, "Connection reset by peer"))
            assert_reset(client, PATIENCE)
        assert "reset: Connection reset by peer" in caplog.text
        assert entry.sessions() == 0


class TestLosingThePath:
    def test_a_session_resumes_over_the_next_link(
        self, fake: FakeProxy, call: Call, client: socket.socket, session: bytes, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        client.sendall(b"0123456789")
        assert call.hear(Stream).payload == b"0123456789"
        call.say(Stream(session, True, 0, b"abc"))
        assert receive_exactly(client, 3) == b"abc"
        call.cut()
        again = fake.accept()
        asked = again.hear(Initiator)
        assert asked.session == session and asked.terms is not None
        assert (asked.terms.attempt, asked.terms.resume, asked.terms.received) == (2, True, 3)
        again.say(Ack(session, True, terms=Terms(2, 4, LIMIT)))
        heard = [again.hear_any(), again.hear_any()]
        assert Stream(session, False, 4, b"456789") in heard
        assert [each.received for each in heard if isinstance(each, Credit)] == [3]
        again.say(Stream(session, True, 3, b"def"))
        assert receive_exactly(client, 3) == b"def"
        assert "waits for its path" in caplog.text and "resumed after" in caplog.text

    def test_a_suspended_session_is_asked_for_again(self, call: Call, session: bytes) -> None:
        call.say(Suspend(session, True))
        asked = call.hear(Initiator)
        assert asked.session == session and asked.terms is not None and asked.terms.attempt == 2

    def test_it_is_asked_for_until_the_exit_is_back(self, call: Call, client: socket.socket, session: bytes) -> None:
        call.say(Suspend(session, True))
        for attempt in range(2, 6):
            asked = call.hear(Initiator)
            assert asked.terms is not None and asked.terms.attempt == attempt
            call.say(Ack(session, False, "Gateway not registered", Refusal.NO_GATEWAY))
        call.open()
        client.sendall(b"back")
        assert call.hear(Stream).payload == b"back"

    @pytest.mark.parametrize("young", [True, False])
    def test_a_new_session_is_patient_while_the_link_is_young(
        self, young: bool, call: Call, entry: Started, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """After a restart of the proxy the exit may be back a little later than the entry."""
        monkeypatch.setattr("hubble.agent.links.SETTLING", PATIENCE if young else 0.0)
        with connect(entry.port) as client:
            session = call.hear(Initiator).session
            call.say(Ack(session, False, "Gateway not registered", Refusal.NO_GATEWAY))
            if not young:
                assert_reset(client, PATIENCE)
                return
            again = call.open()
            assert again.session == session and again.terms is not None and not again.terms.resume
            client.sendall(b"patience")
            assert call.hear(Stream).payload == b"patience"

    def test_another_refusal_gives_it_up(self, call: Call, client: socket.socket, session: bytes) -> None:
        call.say(Suspend(session, True))
        call.hear(Initiator)
        call.say(Ack(session, False, "Unauthorized", Refusal.UNAUTHORIZED))
        assert_reset(client, PATIENCE)

    def test_time_gives_it_up(self, fake: FakeProxy) -> None:
        with started(fake.url, "entry", RULE, linked=False, options={"resume_timeout": 0.3}) as entry:
            call = fake.accept()
            with connect(entry.port) as client:
                call.open()
                client.sendall(b"x")
                call.hear(Stream)
                fake.shut()
                call.cut()
                assert_reset(client, PATIENCE)
                assert entry.sessions() == 0

    @pytest.mark.parametrize(
        "options, kept", [({"waiting_sessions": 1}, 1), ({"waiting_bytes": 350}, 2), ({"waiting_bytes": 50}, 0)]
    )
    def test_those_that_keep_most_are_given_up_first(self, fake: FakeProxy, options: dict[str, int], kept: int) -> None:
        with started(fake.url, "entry", RULE, linked=False, options=options) as entry:
            call = fake.accept()
            clients = []
            for size in (300, 200, 100):
                client = connect(entry.port)
                clients.append(client)
                call.open()
                client.sendall(bytes(size))
                assert len(call.hear(Stream).payload) == size
            fake.shut()
            call.cut()
            for client in clients[: 3 - kept]:
                assert_reset(client, PATIENCE)
            fake.open()
            again = fake.accept()
            for _ in clients:
                again.open()  # also those given up: their exits must be told
            heard = [again.hear_any() for _ in clients]
            assert len([each for each in heard if isinstance(each, Stream)]) == kept
            resets = [each.reason for each in heard if isinstance(each, Reset)]
            assert resets == [ResetReason.LIMIT] * (3 - kept)
            for client in clients:
                client.close()


class TestProtocol01:
    def test_an_old_exit_makes_it_a_session_of_0_1(self, call: Call, client: socket.socket, entry: Started) -> None:
        asked = call.hear(Initiator)
        call.say(Ack(asked.session, True))
        client.sendall(b"hello")
        assert call.hear(Data) == Data(asked.session, 1, b"hello")
        call.say(Data(asked.session, 1, b"world"))
        call.say(Data(asked.session, 2, b""))
        assert receive_all(client) == b"world"
        call.say(Terminator(asked.session))
        poll(lambda: entry.sessions() == 0, PATIENCE, "the session is over")

    def test_an_old_proxy_is_asked_for_nothing_else(self, fake: FakeProxy, entry: Started) -> None:
        call = fake.accept(resumable=False)
        with connect(entry.port) as client:
            asked = call.open()
            assert asked.terms is None
            client.sendall(b"hello")
            assert call.hear(Data) == Data(asked.session, 1, b"hello")
            client.shutdown(socket.SHUT_WR)
            assert call.hear(Data) == Data(asked.session, 2, b"")
            assert call.hear(ConnectionClosed) == ConnectionClosed(asked.session)

    def test_data_is_cut_at_64_kib(self, fake: FakeProxy, entry: Started) -> None:
        call = fake.accept(resumable=False)
        with connect(entry.port) as client:
            call.open()
            sender = gevent.spawn(client.sendall, bytes(1_000_000))
            sizes: list[int] = []
            while sum(sizes) < 1_000_000:
                sizes.append(len(call.hear(Data).data))
            sender.get(timeout=PATIENCE)
            assert max(sizes) <= 64 * 1024
