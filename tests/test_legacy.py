"""Ours and the original's, in every combination. The original's are doubles, which are compared with it first."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import gevent
import pytest

from hubble.proxy.proxy import Proxy
from tests.support import legacy
from tests.support.agents import Started, started
from tests.support.legacy import LegacyAgent, LegacyProxy, Said
from tests.support.services import Service, echo, receive_all, receive_exactly, source
from tests.support.sockets import assert_reset, connect
from tests.support.waiting import poll

PATIENCE = 20.0
VECTORS = json.loads((Path(__file__).parent / "protocol" / "vectors" / "wire-0.1.json").read_text())
MUCH = bytes(range(256)) * 1200
"""About 300 KB: more than one message, and no multiple of any size."""


@pytest.fixture
def clean() -> Iterator[ExitStack]:
    """Closes in the end what is pushed here."""
    with ExitStack() as stack:
        yield stack


@contextmanager
def service(handler: Callable[..., None]) -> Iterator[Service]:
    service = Service(handler)
    try:
        yield service
    finally:
        service.close()


def start_proxy(kind: str, clean: ExitStack) -> str:
    """A proxy's URL."""
    if kind == "0.1":
        old = LegacyProxy()
        clean.callback(old.close)
        return old.url
    proxy = Proxy("127.0.0.1:0")
    host, port = proxy.start()
    clean.callback(proxy.stop)
    return f"ws://{host}:{port}"


def start_exit(kind: str, url: str, clean: ExitStack) -> None:
    if kind == "0.1":
        clean.callback(LegacyAgent(url, "exit").close)
    else:
        clean.enter_context(started(url, "exit"))


def start_entry(kind: str, url: str, port: int, clean: ExitStack) -> int:
    """The local port that leads to `port` near the exit."""
    if kind == "0.1":
        agent = LegacyAgent(url, "entry")
        clean.callback(agent.close)
        return agent.forward("exit", port, "s3cret")
    return clean.enter_context(started(url, "entry", f"0:s3cret@exit:127.0.0.1:{port}")).port


class TestTheDoubles:
    def test_say_what_was_recorded(self, clean: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
        """The first recorded session again, with its id and its port: what each of the three hears is as recorded."""
        scenario = [each for each in VECTORS if each["scenario"].startswith(("0", "1"))]
        first = legacy.unpack(bytes.fromhex(next(each["hex"] for each in scenario if each["message"] == "INITIATOR")))
        monkeypatch.setattr(legacy.uuid, "uuid4", lambda: first.fields["GUID"])
        dial = LegacyAgent._dial
        shouting = clean.enter_context(service(lambda sock: sock.sendall(b"ECHO:" + sock.recv(100)) or sock.recv(1)))
        monkeypatch.setattr(LegacyAgent, "_dial", lambda self, guid, host, port: dial(self, guid, host, shouting.port))
        proxy = LegacyProxy()
        clean.callback(proxy.close)
        exit_agent, entry = LegacyAgent(proxy.url, "agent2", "kB"), LegacyAgent(proxy.url, "agent1", "kA")
        wires = {"entry": proxy.agents["agent1"], "exit": proxy.agents["agent2"]}
        clean.callback(exit_agent.close)
        clean.callback(entry.close)
        with connect(entry.forward("agent2", first.fields["RemotePort"], first.fields["Key"])) as client:
            client.sendall(b"hello")
            assert receive_exactly(client, 10) == b"ECHO:hello"

        poll(lambda: not exit_agent._sockets and not entry._sockets, PATIENCE, "the session is over")
        for name, heard in (
            ("entry agent", entry.wire.heard),
            ("exit agent", exit_agent.wire.heard),
            ("proxy from the entry", wires["entry"].heard),
        ):
            sender, receiver = ("entry agent", "proxy") if "proxy" in name else ("proxy", name)
            meant = [each["hex"] for each in scenario if (each["sender"], each["receiver"]) == (sender, receiver)]
            assert [data.hex() for data in heard] == list(dict.fromkeys(meant))

    def test_the_proxy_sends_long_messages_in_two_fragments(self, clean: ExitStack) -> None:
        proxy = LegacyProxy()
        clean.callback(proxy.close)
        frames: list[tuple[int, bool]] = []
        agent = LegacyAgent(proxy.url, "agent")
        clean.callback(agent.close)
        received = agent.wire._protocol.recv_frame

        def record(frame: Any) -> None:
            frames.append((len(frame.data), frame.fin))
            received(frame)

        agent.wire._protocol.recv_frame = record  # type: ignore[method-assign]
        proxy.agents["agent"].send(legacy.DATA, GUID="g", Order=1, Data=bytes(1500))
        poll(lambda: len(frames) == 2, PATIENCE, "both fragments come")
        assert frames[0] == (1024, False) and frames[1][1]


KINDS = ("ours", "0.1")
COMBINATIONS = [(proxy, entry, exit_) for proxy in KINDS for entry in KINDS for exit_ in KINDS]


@pytest.mark.parametrize("proxy, entry, exit_", COMBINATIONS, ids=[" ".join(each) for each in COMBINATIONS])
class TestEveryCombination:
    def tunnel(self, kinds: tuple[str, str, str], port: int, clean: ExitStack) -> int:
        proxy, entry, exit_ = kinds
        url = start_proxy(proxy, clean)
        start_exit(exit_, url, clean)
        return start_entry(entry, url, port, clean)

    def test_carries_bytes_both_ways(self, proxy: str, entry: str, exit_: str, clean: ExitStack) -> None:
        echoing = clean.enter_context(service(echo))
        port = self.tunnel((proxy, entry, exit_), echoing.port, clean)
        for _ in range(3):
            with connect(port) as client:
                sender = gevent.spawn(client.sendall, MUCH)
                assert receive_exactly(client, len(MUCH)) == MUCH
                sender.get(timeout=PATIENCE)

    def test_an_answer_that_ends_by_closing_arrives_whole(
        self, proxy: str, entry: str, exit_: str, clean: ExitStack
    ) -> None:
        serving = clean.enter_context(service(source(MUCH)))
        port = self.tunnel((proxy, entry, exit_), serving.port, clean)
        for _ in range(5):
            with connect(port) as client:
                assert receive_all(client) == MUCH

    def test_what_a_client_sent_before_it_closed_arrives_whole(
        self, proxy: str, entry: str, exit_: str, clean: ExitStack
    ) -> None:
        received: list[bytes] = []
        collecting = clean.enter_context(service(lambda sock: received.append(receive_all(sock))))
        port = self.tunnel((proxy, entry, exit_), collecting.port, clean)
        with connect(port) as client:
            client.sendall(MUCH)
        poll(lambda: received, PATIENCE, "the service sees the end")
        assert received == [MUCH] and not collecting.failures

    def test_a_refused_destination_ends_the_connection(
        self, proxy: str, entry: str, exit_: str, clean: ExitStack
    ) -> None:
        with service(echo) as gone:
            nobody = gone.port
        port = self.tunnel((proxy, entry, exit_), nobody, clean)
        with connect(port) as client:
            if entry == "ours":
                assert_reset(client, PATIENCE)
            else:
                assert receive_all(client) == b""


class TestOurAgentAtAnOldProxy:
    @pytest.fixture
    def old_proxy(self, clean: ExitStack) -> LegacyProxy:
        proxy = LegacyProxy()
        clean.callback(proxy.close)
        return proxy

    def through(self, old_proxy: LegacyProxy, exit_: str, handler: Callable[..., None], clean: ExitStack) -> Started:
        serving = clean.enter_context(service(handler))
        start_exit(exit_, old_proxy.url, clean)
        return clean.enter_context(started(old_proxy.url, "entry", f"0:exit:127.0.0.1:{serving.port}"))

    @pytest.mark.parametrize("exit_", KINDS)
    def test_a_gap_is_a_reset(
        self, old_proxy: LegacyProxy, exit_: str, clean: ExitStack, caplog: pytest.LogCaptureFixture
    ) -> None:
        entry = self.through(old_proxy, exit_, echo, clean)
        dropped: list[Said] = []

        def drop_the_second(said: Said) -> bool:
            if said.fields["Order"] == 2:
                dropped.append(said)
            return said.fields["Order"] != 2

        old_proxy.tamper = drop_the_second
        with caplog.at_level(logging.INFO), connect(entry.port) as client:
            client.sendall(b"1")
            assert receive_exactly(client, 1) == b"1"
            client.sendall(b"2")
            poll(lambda: dropped, PATIENCE, "one is missing")
            client.sendall(b"3")
            assert_reset(client, PATIENCE)
        poll(lambda: not old_proxy.sessions, PATIENCE, "the proxy is told")
        assert re.search(r"reset: (Data 3 followed Data 1: messages are missing|terminated before)", caplog.text)
        assert entry.sessions() == 0

    def test_a_terminator_without_an_end_is_a_reset(self, old_proxy: LegacyProxy, clean: ExitStack) -> None:
        entry = self.through(old_proxy, "0.1", echo, clean)
        with connect(entry.port) as client:
            client.sendall(b"hello")
            assert receive_exactly(client, 5) == b"hello"
            old_proxy.terminate()
            assert_reset(client, PATIENCE)

    def test_a_lost_exit_is_a_reset(self, old_proxy: LegacyProxy, clean: ExitStack) -> None:
        entry = self.through(old_proxy, "0.1", echo, clean)
        with connect(entry.port) as client:
            client.sendall(b"hello")
            assert receive_exactly(client, 5) == b"hello"
            old_proxy.agents["exit"].close()
            assert_reset(client, PATIENCE)

    def test_a_lost_link_is_a_reset_since_0_1_cannot_resume(self, old_proxy: LegacyProxy, clean: ExitStack) -> None:
        entry = self.through(old_proxy, "0.1", echo, clean)
        with connect(entry.port) as client:
            client.sendall(b"hello")
            assert receive_exactly(client, 5) == b"hello"
            old_proxy.agents["entry"].close()
            assert_reset(client, PATIENCE)

    def test_a_local_reset_closes_the_session_at_the_service(self, old_proxy: LegacyProxy, clean: ExitStack) -> None:
        ended: list[bytes] = []
        entry = self.through(old_proxy, "0.1", lambda sock: ended.append(receive_all(sock)), clean)
        client = connect(entry.port)
        client.sendall(b"hello")
        poll(lambda: old_proxy.sessions, PATIENCE, "the session is open")
        client.setsockopt(gevent.socket.SOL_SOCKET, gevent.socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        poll(lambda: ended and not old_proxy.sessions, PATIENCE, "the service sees an end")
        assert entry.sessions() == 0

    def test_registers_in_its_words(self, old_proxy: LegacyProxy, clean: ExitStack) -> None:
        clean.enter_context(started(old_proxy.url, "agent", key="s3cret"))
        said = legacy.unpack(old_proxy.agents["agent"].heard[0])
        assert said == Said(legacy.HANDSHAKE, {"Version": "0.1", "Name": "agent", "Key": "s3cret"})

    def test_asks_in_its_words_only(self, old_proxy: LegacyProxy, clean: ExitStack) -> None:
        entry = self.through(old_proxy, "0.1", echo, clean)
        with connect(entry.port) as client:
            client.sendall(b"hello")
            assert receive_exactly(client, 5) == b"hello"
        said = old_proxy.agents["entry"].heard[1:]
        assert legacy.keys(said[0]) == {"GUID", "RemoteHost", "RemotePort", "Gatename", "Key"}
        assert {data[0] for data in said} <= {legacy.INITIATOR, legacy.DATA, legacy.CONNECTION_CLOSED}

    def test_registers_again_after_a_duplicate_took_its_name_and_left(
        self, old_proxy: LegacyProxy, clean: ExitStack
    ) -> None:
        serving = clean.enter_context(service(echo))
        agent = clean.enter_context(started(old_proxy.url, "exit", options={"self_check": 0.1})).agent
        first = old_proxy.agents["exit"]
        poll(lambda: len(first.heard) >= 4, PATIENCE, "it asks for itself, and refuses")
        check, answer = (legacy.unpack(data) for data in first.heard[1:3])
        assert (check.kind, check.fields["Gatename"], check.fields["RemotePort"]) == (legacy.INITIATOR, "exit", 0)
        assert (answer.kind, answer.fields["Ok"]) == (legacy.ACK, False)
        assert legacy.unpack(first.heard[3]).kind == legacy.CONNECTION_CLOSED
        assert old_proxy.agents["exit"] is first, "it has registered again for nothing"
        LegacyAgent(old_proxy.url, "exit").close()
        poll(lambda: agent._links.meters.registrations == 2, PATIENCE, "it is registered again")
        entry = clean.enter_context(started(old_proxy.url, "entry", f"0:exit:127.0.0.1:{serving.port}"))
        with connect(entry.port) as client:
            client.sendall(b"hello")
            assert receive_exactly(client, 5) == b"hello"

    def test_keeps_its_link_while_a_duplicate_has_its_name(self, old_proxy: LegacyProxy, clean: ExitStack) -> None:
        agent = clean.enter_context(started(old_proxy.url, "exit", options={"self_check": 0.1}))
        link, wire = agent.agent._links.link, old_proxy.agents["exit"]
        clean.callback(LegacyAgent(old_proxy.url, "exit").close)
        asked = len(wire.heard)
        poll(lambda: len(wire.heard) >= asked + 3, PATIENCE, "it has asked, and was refused")
        assert agent.agent._links.link is link
