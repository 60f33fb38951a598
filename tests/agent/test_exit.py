"""Sessions that others open, to destinations near this agent."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Iterator

import gevent
import msgpack
import pytest
from gevent import socket

from hubble.protocol.codec import INITIATOR, encode
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
from hubble.transport.addresses import IPAddress
from tests.support.agents import Started, started
from tests.support.fakeproxy import LIMIT, Call, FakeProxy
from tests.support.services import Service, echo, receive_all, receive_exactly
from tests.support.talk import PATIENCE
from tests.support.waiting import poll

pytestmark = pytest.mark.usefixtures("quick_farewells")

SECRET = b"s" * 16
ABORTIVE = (socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.fixture
def agent(fake: FakeProxy) -> Iterator[Started]:
    with started(fake.url, "exit", linked=False) as running:
        yield running


@pytest.fixture
def call(fake: FakeProxy, agent: Started) -> Call:
    """The agent's link, on which the proxy has let it in."""
    call = fake.accept()
    agent.wait_linked()
    return call


class Destination:
    """A service whose connections a test holds in its hands."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(PATIENCE)
        self.port: int = self._listener.getsockname()[1]

    def accept(self) -> socket.socket:
        sock = self._listener.accept()[0]
        sock.settimeout(PATIENCE)
        return sock

    def nobody_else(self) -> bool:
        """Whether no further connection waits."""
        self._listener.settimeout(0)
        try:
            self._listener.accept()
        except BlockingIOError:
            return True
        return False

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def destination() -> Iterator[Destination]:
    destination = Destination()
    yield destination
    destination.close()


def ask(port: int, session: bytes | None = None, attempt: int = 1, received: int = 0, **changes: object) -> Initiator:
    """What the proxy passes on, in an entry's name."""
    secret = changes.pop("secret", SECRET)
    resume = changes.pop("resume", attempt > 1)
    terms = Terms(attempt, received, received + LIMIT, secret, resume)  # type: ignore[arg-type]
    values = {"host": "127.0.0.1", "gateway": "exit", "path": 7, "source": "entry", "terms": terms} | changes
    return Initiator(session or uuid.uuid4().bytes, port=port, **values)  # type: ignore[arg-type]


def opened(call: Call, port: int, **changes: object) -> bytes:
    """A session to a port of this machine."""
    asked = ask(port, **changes)  # type: ignore[arg-type]
    call.say(asked)
    ack = call.hear(Ack)
    assert ack.ok and ack.session == asked.session, ack
    return asked.session


class TestOpening:
    def test_connects_and_accepts(self, call: Call, destination: Destination) -> None:
        asked = ask(destination.port)
        call.say(asked)
        ack = call.hear(Ack)
        assert (ack.session, ack.ok, ack.path) == (asked.session, True, 7)
        assert ack.terms is not None
        assert (ack.terms.attempt, ack.terms.received, ack.terms.limit) == (1, 0, 256 * 1024)
        assert ack.terms.secret == b""
        destination.accept().close()

    def test_bytes_that_follow_the_answer_are_never_lost(self, call: Call) -> None:
        # The original acknowledges before it has registered the session: 1 in 40 clients that write at once hang.
        service = Service(echo)
        for _ in range(100):
            session = opened(call, service.port)
            call.say(Stream(session, False, 0, b"at once"))
            assert call.hear(Stream) == Stream(session, True, 0, b"at once")
            call.say(Reset(session, False, ResetReason.LOCAL_RESET))
        service.close()

    def test_names_are_resolved_here(self, call: Call, destination: Destination) -> None:
        opened(call, destination.port, host="localhost")
        destination.accept().close()

    @pytest.mark.parametrize(
        "host, said", [("127.0.0.1", "Connection refused"), ("no such name.invalid", "cannot resolve"), ("", "empty")]
    )
    def test_what_cannot_be_reached_is_refused(
        self, call: Call, host: str, said: str, agent: Started, caplog: pytest.LogCaptureFixture
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            nobody = listener.getsockname()[1]
        asked = ask(nobody, host=host, key="s3cret")
        call.say(asked)
        ack = call.hear(Ack)
        assert (ack.session, ack.ok, ack.code, ack.path) == (asked.session, False, Refusal.DIAL_FAILED, 7)
        assert said in ack.message and "\n" not in ack.message
        assert ack.message in caplog.text and "s3cret" not in caplog.text
        assert agent.sessions() == 0

    def test_dialling_takes_only_so_long(self, fake: FakeProxy) -> None:
        with (
            started(fake.url, "exit", linked=False, options={"dial_timeout": 0.2}),
            socket.socket() as full,
        ):
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            port = full.getsockname()[1]
            waiting = [gevent.spawn(socket.create_connection, ("127.0.0.1", port)) for _ in range(4)]
            gevent.sleep(0.1)  # its queue is full now, and it answers nobody any more
            call = fake.accept()
            call.say(ask(port))
            ack = call.hear(Ack)
            assert ack.code is Refusal.DIAL_FAILED and "within 0.2 s" in ack.message
            gevent.killall(waiting)

    @pytest.mark.parametrize("host", ["x" * 4096, "a..b", "a b", "a\u202eb"])
    def test_a_host_that_is_no_name_is_refused_in_one_line(
        self, call: Call, host: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
    ) -> None:
        call.say(ask(1, host=host))
        ack = call.hear(Ack)
        assert (ack.ok, ack.code) == (False, Refusal.DIAL_FAILED)
        assert "the host name" in ack.message and len(ack.message) < 200
        assert "Traceback" not in caplog.text + "".join(capfd.readouterr())

    @pytest.mark.parametrize("key", ["RemoteHost", "Key", "Source"])
    def test_a_control_character_costs_its_session_only(self, call: Call, destination: Destination, key: str) -> None:
        session = opened(call, destination.port)
        asked = ask(destination.port)
        fields = msgpack.unpackb(encode(asked)[1:], raw=True) | {key.encode(): b"a\nb"}
        call.say(bytes([INITIATOR]) + msgpack.packb(fields, use_bin_type=False))
        ack = call.hear(Ack)
        assert (ack.session, ack.ok, ack.code, ack.path) == (asked.session, False, Refusal.BAD_REQUEST, asked.path)
        assert ack.message == f"{key} contains a control character"
        with destination.accept() as sock:
            sock.sendall(b"still here")
            assert bytes(call.hear(Stream).payload) == b"still here" and session

    def test_what_is_forbidden_is_refused(self, fake: FakeProxy, destination: Destination) -> None:
        def forbids(host: str, address: IPAddress, port: int) -> str | None:
            assert (host, str(address), port) == ("localhost", str(address), destination.port)
            return "it is none of your business" if address.is_loopback else None

        with started(fake.url, "exit", linked=False, forbids=forbids):
            call = fake.accept()
            call.say(ask(destination.port, host="localhost"))
            ack = call.hear(Ack)
            assert not ack.ok and "it is none of your business" in ack.message
            assert destination.nobody_else()

    def test_a_link_lost_while_dialling_is_no_loss(self, fake: FakeProxy, call: Call, destination: Destination) -> None:
        asked = ask(destination.port)
        call.say(asked)
        call.cut()
        again = fake.accept()
        again.say(ask(destination.port, asked.session, attempt=2, resume=False))
        ack = again.hear(Ack)
        assert ack.ok and ack.terms is not None and ack.terms.attempt == 2


class TestBytes:
    def test_go_both_ways(self, call: Call) -> None:
        service = Service(echo)
        session = opened(call, service.port)
        call.say(Stream(session, False, 0, b"hello"))
        assert call.hear(Stream) == Stream(session, True, 0, b"hello")
        service.close()

    def test_ends_are_passed_on_each_for_itself(self, call: Call, destination: Destination, agent: Started) -> None:
        session = opened(call, destination.port)
        with destination.accept() as sock:
            call.say(Stream(session, False, 0, b"question"))
            call.say(Eof(session, False, 8))
            assert receive_all(sock) == b"question"
            assert call.hear(Credit).received == 9
            sock.sendall(b"answer")
            assert call.hear(Stream) == Stream(session, True, 0, b"answer")
            sock.close()
            assert call.hear(Eof) == Eof(session, True, 6)
            call.say(Credit(session, False, 7, LIMIT))
            assert call.hear(Done) == Done(session, True)
            call.say(Done(session, False))
            poll(lambda: agent.sessions() == 0, PATIENCE, "the session is over")

    def test_a_reset_of_the_service_is_passed_on(self, call: Call, destination: Destination) -> None:
        session = opened(call, destination.port)
        sock = destination.accept()
        sock.setsockopt(*ABORTIVE)
        sock.close()
        assert call.hear(Reset) == Reset(session, True, ResetReason.LOCAL_RESET, "Connection reset by peer")

    def test_a_reset_of_the_other_side_reaches_the_service(self, call: Call, destination: Destination) -> None:
        session = opened(call, destination.port)
        with destination.accept() as sock:
            call.say(Reset(session, False, ResetReason.LOCAL_RESET))
            with pytest.raises(ConnectionResetError):
                sock.recv(1)


class TestResuming:
    def test_goes_on_where_it_was(self, fake: FakeProxy, call: Call, destination: Destination) -> None:
        session = opened(call, destination.port)
        with destination.accept() as sock:
            call.say(Stream(session, False, 0, b"abc"))
            assert receive_exactly(sock, 3) == b"abc"
            sock.sendall(b"0123456789")
            assert call.hear(Stream).payload == b"0123456789"
            call.cut()
            again = fake.accept()
            again.say(ask(destination.port, session, attempt=2, received=4))
            ack = again.hear(Ack)
            assert ack.ok and ack.terms is not None and (ack.terms.attempt, ack.terms.received) == (2, 3)
            heard = [again.hear_any(), again.hear_any()]
            assert Stream(session, True, 4, b"456789") in heard
            assert [each.received for each in heard if isinstance(each, Credit)] == [3]
            again.say(Stream(session, False, 3, b"def"))
            assert receive_exactly(sock, 3) == b"def"
            assert destination.nobody_else()

    def test_the_credit_that_tells_what_was_consumed_follows_the_answer(
        self, call: Call, destination: Destination
    ) -> None:
        # The proxy has no route for it before the answer has passed, and drops it.
        session = opened(call, destination.port)
        with destination.accept() as sock:
            call.say(Stream(session, False, 0, b"abc"))
            assert receive_exactly(sock, 3) == b"abc"
            for attempt in (2, 3, 4):
                call.say(ask(destination.port, session, attempt=attempt))
                while not isinstance(message := call.hear_any(), Ack):
                    assert attempt == 2  # that is the credit of the first path, told late
                assert message.ok
                assert call.hear(Credit).received == 3

    def test_an_unknown_session_is_refused(self, call: Call, destination: Destination) -> None:
        call.say(ask(destination.port, attempt=2))
        ack = call.hear(Ack)
        assert (ack.ok, ack.code, ack.path) == (False, Refusal.UNKNOWN_SESSION, 7)
        assert destination.nobody_else()

    @pytest.mark.parametrize("secret", [b"t" * 16, bytes(16)])
    def test_without_the_secret_it_is_refused_and_nothing_changes(
        self, call: Call, destination: Destination, secret: bytes, caplog: pytest.LogCaptureFixture
    ) -> None:
        session = opened(call, destination.port)
        with destination.accept() as sock:
            for resume in (True, False):
                call.say(ask(destination.port, session, attempt=9, secret=secret, resume=resume))
                ack = call.hear(Ack)
                assert (ack.ok, ack.code) == (False, Refusal.UNKNOWN_SESSION)
            call.say(Stream(session, False, 0, b"as before"))
            assert receive_exactly(sock, 9) == b"as before"
            assert "refused a resumption: the secret is wrong" in caplog.text
            assert SECRET.hex() not in caplog.text and secret.hex() not in caplog.text
            assert destination.nobody_else()

    def test_a_stale_attempt_is_not_answered(self, call: Call, destination: Destination) -> None:
        session = opened(call, destination.port, attempt=5, resume=False)
        call.say(ask(destination.port, session, attempt=4))
        call.say(ask(destination.port, session, attempt=5))
        call.say(ask(destination.port, session, attempt=6))
        ack = call.hear(Ack)
        assert ack.ok and ack.terms is not None and ack.terms.attempt == 6

    def test_an_impossible_offset_is_refused(self, call: Call, destination: Destination) -> None:
        session = opened(call, destination.port)
        call.say(ask(destination.port, session, attempt=2, received=1))
        assert not call.hear(Ack).ok

    def test_two_that_come_while_it_dials_make_one_session(
        self, call: Call, destination: Destination, agent: Started
    ) -> None:
        asked = ask(destination.port)
        call.say(asked)
        call.say(ask(destination.port, asked.session, attempt=2, resume=False, path=8))
        ack = call.hear(Ack)
        assert ack.ok and ack.terms is not None
        if ack.terms.attempt == 1:  # it was quick
            ack = call.hear(Ack)
        assert ack.terms is not None and (ack.terms.attempt, ack.path) == (2, 8)
        destination.accept().close()
        assert destination.nobody_else()

    def test_time_gives_it_up(self, fake: FakeProxy, destination: Destination) -> None:
        with started(fake.url, "exit", linked=False, options={"resume_timeout": 0.3}) as agent:
            call = fake.accept()
            session = opened(call, destination.port)
            with destination.accept() as sock:
                call.say(Suspend(session, False))
                with pytest.raises(ConnectionResetError):
                    sock.recv(1)
                poll(lambda: agent.sessions() == 0, PATIENCE, "it is forgotten")


class TestProtocol01:
    def old(self, call: Call, port: int) -> bytes:
        session = uuid.uuid4().bytes
        call.say(Initiator(session, "127.0.0.1", port, "exit"))
        assert call.hear(Ack) == Ack(session, True)
        return session

    def test_an_old_entrys_session(self, call: Call, destination: Destination, agent: Started) -> None:
        session = self.old(call, destination.port)
        with destination.accept() as sock:
            call.say(Data(session, 1, b"hello"))
            assert receive_exactly(sock, 5) == b"hello"
            sock.sendall(b"world")
            assert call.hear(Data) == Data(session, 1, b"world")
            sock.shutdown(socket.SHUT_WR)
            assert call.hear(Data) == Data(session, 2, b"")
            assert call.hear(ConnectionClosed) == ConnectionClosed(session)
            call.say(Terminator(session))
            poll(lambda: agent.sessions() == 0, PATIENCE, "the session is over")

    def test_what_came_before_the_terminator_is_delivered(self, call: Call, destination: Destination) -> None:
        session = self.old(call, destination.port)
        for order in range(1, 101):
            call.say(Data(session, order, bytes(1024)))
        call.say(Data(session, 101, b""))
        call.say(Terminator(session))
        with destination.accept() as sock:
            assert receive_all(sock) == bytes(100 * 1024)

    @pytest.mark.parametrize("order", [0, 2, 3])
    def test_a_gap_resets(self, call: Call, destination: Destination, order: int) -> None:
        session = self.old(call, destination.port)
        with destination.accept() as sock:
            call.say(Data(session, order, b"x"))
            assert call.hear(ConnectionClosed) == ConnectionClosed(session)
            with pytest.raises(ConnectionResetError):
                sock.recv(1)

    def test_the_same_session_is_not_opened_twice(self, call: Call, destination: Destination) -> None:
        session = self.old(call, destination.port)
        call.say(Initiator(session, "127.0.0.1", destination.port, "exit"))
        ack = call.hear(Ack)
        assert (ack.ok, ack.code) == (False, Refusal.BAD_REQUEST)

    def test_a_stalled_application_holds_the_link_only_so_long(
        self, call: Call, destination: Destination, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("hubble.protocol.legacy.limits.STALL_TIMEOUT", 0.2)
        monkeypatch.setattr("hubble.protocol.legacy.limits.BACKLOG", 256 * 1024)
        stalled, other = self.old(call, destination.port), self.old(call, destination.port)
        unread, read = destination.accept(), destination.accept()
        for order in range(1, 201):
            call.say(Data(stalled, order, bytes(64 * 1024)))
        call.say(Data(other, 1, b"not held up for ever"))
        assert receive_exactly(read, 20) == b"not held up for ever"
        assert call.hear(ConnectionClosed) == ConnectionClosed(stalled)
        unread.close()
        read.close()
