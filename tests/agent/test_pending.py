"""Connections at an entry that wait for a session."""

from __future__ import annotations

import struct
import time

import gevent
import pytest
from gevent import socket

from hubble.agent import pending
from hubble.protocol.messages import Ack, Eof, Initiator, Refusal, Stream
from hubble.transport.liveness import is_client_gone
from tests.support.agents import Started, started
from tests.support.fakeproxy import Call, FakeProxy
from tests.support.sockets import assert_reset, connect
from tests.support.talk import PATIENCE
from tests.support.waiting import poll

pytestmark = pytest.mark.usefixtures("quick_farewells")

RULE = "0:exit:host:22"
ABORTIVE = (socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def connect_from(address: str, port: int) -> socket.socket:
    """A connection from one of the machine's own addresses, which stands for another machine."""
    return socket.create_connection(("127.0.0.1", port), PATIENCE, source_address=(address, 0))


def waiting(running: Started) -> int:
    """How many connections wait for a session."""
    return len(running.agent._entry._pending)


def wait_for(running: Started, count: int) -> None:
    poll(lambda: waiting(running) == count, PATIENCE, f"{count} connections wait")


def refuse(call: Call, code: Refusal) -> Initiator:
    asked = call.hear(Initiator)
    call.say(Ack(asked.session, False, "too many", code))
    return asked


class TestClientsThatAreGone:
    def test_no_session_is_asked_for(self, fake: FakeProxy) -> None:
        with started(fake.url, "entry", RULE, linked=False) as entry, connect(entry.port) as real:
            poll(lambda: waiting(entry) == 1, PATIENCE, "the real client waits")
            for _ in range(100):
                sock = connect(entry.port)
                sock.setsockopt(*ABORTIVE)
                sock.close()
            call = fake.accept()
            call.open()
            real.sendall(b"here")
            assert call.hear(Stream).payload == b"here"  # and no further Initiator before it

    def test_one_that_goes_while_it_is_asked_for_again_and_again(self, fake: FakeProxy) -> None:
        with started(fake.url, "entry", RULE, linked=False) as entry:
            call = fake.accept()
            entry.wait_linked()
            with connect(entry.port) as sock:
                refuse(call, Refusal.LIMIT)
                sock.setsockopt(*ABORTIVE)
            poll(lambda: entry.sessions() == 0, PATIENCE, "the session is forgotten")
            with connect(entry.port):
                call.open()  # the next that is heard of

    @pytest.mark.parametrize("data", [b"", b"request"])
    def test_one_that_has_only_ended_its_stream_is_there(self, fake: FakeProxy, data: bytes) -> None:
        with started(fake.url, "entry", RULE, linked=False) as entry, connect(entry.port) as client:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            gevent.sleep(0.3)  # longer than between two looks at who is gone
            call = fake.accept()
            session = call.open().session
            if data:
                assert call.hear(Stream).payload == data
            assert call.hear(Eof) == Eof(session, False, len(data))


def test_who_is_gone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for end, gone in (("reset", True), ("shutdown", False), ("close", False), ("nothing", False)):
            client = socket.create_connection(listener.getsockname())
            server = listener.accept()[0]
            if end == "shutdown":
                client.shutdown(socket.SHUT_WR)
            elif end in ("reset", "close"):
                if end == "reset":
                    client.setsockopt(*ABORTIVE)
                client.close()
            with gevent.Timeout(PATIENCE):
                while is_client_gone(server) is not gone:
                    gevent.sleep(0.01)
            server.close()
            assert is_client_gone(server)
            client.close()


class TestLimits:
    @pytest.mark.parametrize("code", [Refusal.LIMIT, Refusal.BUSY])
    def test_a_connection_waits_while_one_is_reached(self, fake: FakeProxy, code: Refusal) -> None:
        with started(fake.url, "entry", RULE, linked=False) as entry:
            call = fake.accept()
            entry.wait_linked()
            with connect(entry.port) as client:
                asked = [refuse(call, code) for _ in range(3)]
                again = call.open()
                assert {each.session for each in asked} == {again.session}
                assert again.terms is not None and again.terms.attempt == 4 and not again.terms.resume
                client.sendall(b"patience")
                assert call.hear(Stream).payload == b"patience"

    def test_but_not_for_ever(self, fake: FakeProxy) -> None:
        with started(fake.url, "entry", RULE, linked=False, options={"link_wait": 0.5}) as entry:
            call = fake.accept()
            entry.wait_linked()
            began = time.monotonic()
            with connect(entry.port) as client:
                refusing = gevent.spawn(lambda: [refuse(call, Refusal.LIMIT) for _ in range(100)])
                assert_reset(client, PATIENCE)
                assert 0.4 < time.monotonic() - began < 5
                refusing.kill()

    def test_others_are_not_asked_for_meanwhile(self, fake: FakeProxy, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pending, "PAUSE", PATIENCE)
        with started(fake.url, "entry", RULE, linked=False) as entry:
            call = fake.accept()
            entry.wait_linked()
            with connect(entry.port):
                first = refuse(call, Refusal.LIMIT)
                with connect(entry.port):
                    poll(lambda: waiting(entry) == 1, PATIENCE, "the other waits")
                    assert refuse(call, Refusal.BUSY).session == first.session

    def test_a_source_that_opens_many_leaves_room_for_another(
        self, fake: FakeProxy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pending, "OPENING", 9)
        with started(fake.url, "entry", RULE, linked=False) as entry:
            call = fake.accept()
            entry.wait_linked()
            many = [connect_from("127.0.0.2", entry.port) for _ in range(30)]
            asked = [call.hear(Initiator) for _ in range(6)]
            poll(lambda: waiting(entry) == 24, PATIENCE, "the others wait")
            with connect(entry.port) as other:
                call.open()
                other.sendall(b"in between")
                assert call.hear(Stream).payload == b"in between"
            call.hear(Eof)
            for each in asked:
                call.say(Ack(each.session, False, "no", Refusal.UNAUTHORIZED))
            assert call.hear(Initiator)  # the slots are free again
            for sock in many:
                sock.close()

    def test_a_full_queue_refuses_the_source_that_has_most(self, fake: FakeProxy) -> None:
        with started(fake.url, "entry", RULE, linked=False, options={"max_pending": 3}) as entry:
            many = []
            for number in range(1, 4):
                many.append(connect_from("127.0.0.2", entry.port))
                wait_for(entry, number)
            refused = connect_from("127.0.0.2", entry.port)
            assert_reset(refused, PATIENCE)
            with connect(entry.port) as other:
                assert_reset(many.pop(), PATIENCE)
                call = fake.accept()
                asked = [call.open() for _ in range(3)]
                other.sendall(b"me too")
                assert call.hear(Stream).session in {each.session for each in asked}
            for sock in [*many, refused]:
                sock.close()


def test_stopping_resets_what_waits(fake: FakeProxy) -> None:
    with started(fake.url, "entry", RULE, linked=False) as entry, connect(entry.port) as client:
        poll(lambda: waiting(entry) == 1, PATIENCE, "it waits")
        entry.agent.stop()
        assert_reset(client, PATIENCE)
