"""Two agents, or one, and a real proxy, all in this process."""

from __future__ import annotations

import logging
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import gevent
import pytest
from gevent.hub import Hub

from hubble.policy import DenyAll
from hubble.protocol.session import Session
from hubble.proxy.proxy import Proxy
from tests.support.agents import Started, started
from tests.support.services import Exchange, Service, digest, digest_at_end, echo, receive_all, receive_exactly, source
from tests.support.sockets import assert_echo, assert_reset, connect, echoed
from tests.support.talk import PATIENCE
from tests.support.traffic import Progress, exchange
from tests.support.waiting import poll

pytestmark = pytest.mark.usefixtures("quick_farewells")

ABORTIVE = (socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class Tunnel:
    """`proxy`, and agents that are started when a test asks for them."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.proxy = Proxy("127.0.0.1:0")
        host, port = self.proxy.start()
        stack.callback(lambda: self.proxy.stop())
        self.url = f"ws://{host}:{port}"
        self.agents: list[Started] = []

    def service(self, handler: Callable[[Any], Any]) -> Service:
        service = Service(handler)
        self._stack.callback(service.close)
        return service

    def agent(self, name: str, *rules: str, **settings: Any) -> Started:
        running = self._stack.enter_context(started(self.url, name, *rules, **settings))
        self.agents.append(running)
        return running

    def to(self, service: Service) -> int:
        """A port that leads to a service, through an exit and an entry of its own."""
        self.agent("exit")
        return self.agent("entry", f"0:exit:127.0.0.1:{service.port}").port

    def cut(self, name: str) -> None:
        """Break an agent's link."""
        gateway = self.proxy.gateways.get(name)
        if gateway is not None:
            gateway.link.abort("cut by the test")

    def restart_proxy(self) -> None:
        """Another proxy at the same address, which knows nothing of the first."""
        self.proxy.stop()
        self.proxy = Proxy(self.url.removeprefix("ws://"))
        self.proxy.start()

    def wait_idle(self) -> None:
        """Returns when no session is left anywhere."""
        poll(lambda: not any(agent.sessions() for agent in self.agents), PATIENCE, "the agents have no session")
        poll(lambda: not len(self.proxy.routes), PATIENCE, "the proxy has no route")


@pytest.fixture
def tunnel() -> Iterator[Tunnel]:
    with ExitStack() as stack:
        yield Tunnel(stack)


class TestCarrying:
    def test_bytes_both_ways(self, tunnel: Tunnel) -> None:
        port = tunnel.to(tunnel.service(echo))
        for _ in range(3):
            assert_echo(port)
        tunnel.wait_idle()

    def test_much_both_ways_at_once(self, tunnel: Tunnel) -> None:
        service = Exchange()
        port = tunnel.to(service)
        clients = [gevent.spawn(exchange, port, seed, 3_000_000) for seed in range(4)]
        gevent.joinall(clients, timeout=PATIENCE, raise_error=True)
        assert all(client.successful() for client in clients)
        poll(lambda: service.completed == 4, PATIENCE, "the service has all")
        assert not service.failures
        service.close()
        tunnel.wait_idle()

    def test_a_crowd(self, tunnel: Tunnel) -> None:
        port = tunnel.to(tunnel.service(echo))
        clients = [gevent.spawn(assert_echo, port, PATIENCE) for _ in range(100)]
        gevent.joinall(clients, timeout=PATIENCE, raise_error=True)
        assert all(client.successful() for client in clients)
        tunnel.wait_idle()

    def test_an_agent_may_reach_itself(self, tunnel: Tunnel) -> None:
        service = tunnel.service(echo)
        port = tunnel.agent("both", f"0:both:127.0.0.1:{service.port}").port
        assert_echo(port)
        with connect(port) as client:
            client.sendall(b"x" * 500_000)
            assert receive_exactly(client, 500_000) == b"x" * 500_000
            client.shutdown(socket.SHUT_WR)
            assert receive_all(client) == b""
        tunnel.wait_idle()

    def test_two_agents_may_be_each_others_exits(self, tunnel: Tunnel) -> None:
        service = tunnel.service(echo)
        one = tunnel.agent("one", f"0:two:127.0.0.1:{service.port}")
        two = tunnel.agent("two", f"0:one:127.0.0.1:{service.port}")
        assert_echo(one.port)
        assert_echo(two.port)


class TestEnds:
    def test_a_client_that_ends_first_gets_the_answer(self, tunnel: Tunnel) -> None:
        port = tunnel.to(tunnel.service(digest_at_end))
        for size in (0, 1, 300_000):
            with connect(port) as client:
                client.sendall(bytes(size))
                client.shutdown(socket.SHUT_WR)
                assert receive_all(client) == digest(bytes(size))
        tunnel.wait_idle()

    def test_a_service_that_ends_first_gets_the_rest(self, tunnel: Tunnel) -> None:
        received: list[bytes] = []

        def end_first(sock: socket.socket) -> None:
            sock.shutdown(socket.SHUT_WR)
            received.append(receive_all(sock))

        port = tunnel.to(tunnel.service(end_first))
        with connect(port) as client:
            assert receive_all(client) == b""
            client.sendall(bytes(300_000))
        poll(lambda: received, PATIENCE, "the service sees the end")
        assert received == [bytes(300_000)]
        tunnel.wait_idle()

    def test_an_answer_that_ends_by_closing_is_whole(self, tunnel: Tunnel) -> None:
        port = tunnel.to(tunnel.service(source(bytes(2_000_000))))
        for _ in range(5):
            with connect(port) as client:
                assert receive_all(client) == bytes(2_000_000)
        tunnel.wait_idle()

    def test_a_clients_reset_reaches_the_service(self, tunnel: Tunnel) -> None:
        service = tunnel.service(receive_all)
        client = connect(tunnel.to(service))
        client.sendall(b"x")
        poll(lambda: service.accepted, PATIENCE, "it is connected")
        client.setsockopt(*ABORTIVE)
        client.close()
        assert isinstance(service.wait_failure(PATIENCE), ConnectionResetError)
        tunnel.wait_idle()

    def test_a_services_reset_reaches_the_client(self, tunnel: Tunnel) -> None:
        def reset(sock: socket.socket) -> None:
            sock.recv(1)
            sock.setsockopt(*ABORTIVE)

        port = tunnel.to(tunnel.service(reset))
        with connect(port) as client:
            client.sendall(b"x")
            assert_reset(client, PATIENCE)
        tunnel.wait_idle()

    def test_an_unknown_gateway_is_a_reset(self, tunnel: Tunnel, caplog: pytest.LogCaptureFixture) -> None:
        with connect(tunnel.agent("entry", "0:nobody:host:22").port) as client:
            assert_reset(client, PATIENCE)
        assert "Gateway not registered" in caplog.text

    def test_a_denial_is_a_reset(self, caplog: pytest.LogCaptureFixture) -> None:
        proxy = Proxy("127.0.0.1:0", DenyAll())
        _, port = proxy.start()
        with (
            started(f"ws://127.0.0.1:{port}", "both", "0:s3cret@both:127.0.0.1:1") as agent,
            connect(agent.port) as client,
        ):
            assert_reset(client, PATIENCE)
        proxy.stop()
        assert "Unauthorized" in caplog.text and "s3cret" not in caplog.text

    def test_an_internal_error_after_a_read_ends_the_session(
        self, tunnel: Tunnel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its bytes may be lost, so the application must not get the next ones."""
        port = tunnel.to(tunnel.service(echo))
        with connect(port) as client:
            assert echoed(client, b"before") == b"before"
            monkeypatch.setattr(Session, "write", _fail)
            monkeypatch.setattr(Hub, "print_exception", lambda *error: None)
            client.sendall(b"lost")
            assert_reset(client, PATIENCE)
        monkeypatch.undo()
        assert_echo(port)
        tunnel.wait_idle()


def _fail(*arguments: object) -> None:
    raise RuntimeError("made by the test")


class TestSurviving:
    """What no other tunnel does. At length in tests/e2e; here each case once, and quickly."""

    @pytest.mark.parametrize("whose", [["entry"], ["exit"], ["entry", "exit"]], ids="+".join)
    def test_cut_links(self, tunnel: Tunnel, whose: list[str], caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        progress = Progress()
        service = Exchange(progress)
        port = tunnel.to(service)
        size = 6_000_000
        client = gevent.spawn(exchange, port, 1, size, progress)
        for part in (1, 2, 3):
            progress.wait(part * size // 3, PATIENCE)
            for name in whose:
                tunnel.cut(name)
        client.get(timeout=PATIENCE)
        poll(lambda: service.completed, PATIENCE, "the service has all")
        assert not service.failures
        assert "resumed after" in caplog.text
        tunnel.wait_idle()
        service.close()

    def test_a_proxy_that_forgets_everything(self, tunnel: Tunnel) -> None:
        progress = Progress()
        service = Exchange(progress)
        port = tunnel.to(service)
        client = gevent.spawn(exchange, port, 1, 4_000_000, progress)
        progress.wait(2_000_000, PATIENCE)
        tunnel.restart_proxy()
        client.get(timeout=PATIENCE)
        assert not service.failures
        tunnel.wait_idle()
        service.close()

    def test_an_idle_session(self, tunnel: Tunnel) -> None:
        port = tunnel.to(tunnel.service(echo))
        with connect(port) as client:
            for _ in range(3):
                client.sendall(b"before")
                assert receive_exactly(client, 6) == b"before"
                tunnel.cut("exit")
                tunnel.cut("entry")
                client.sendall(b"meanwhile")
                assert receive_exactly(client, 9) == b"meanwhile"

    def test_half_closed_sessions(self, tunnel: Tunnel) -> None:
        port = tunnel.to(tunnel.service(digest_at_end))
        with connect(port) as client:
            client.sendall(bytes(100_000))
            tunnel.cut("entry")
            client.shutdown(socket.SHUT_WR)
            tunnel.cut("exit")
            assert receive_all(client) == digest(bytes(100_000))
        tunnel.wait_idle()

    def test_a_killed_agent_is_a_reset_for_the_other_side(self, tunnel: Tunnel) -> None:
        service = tunnel.service(receive_all)
        tunnel.agent("exit")
        entry = tunnel.agent("entry", f"0:exit:127.0.0.1:{service.port}")
        with connect(entry.port) as client:
            client.sendall(b"x")
            poll(lambda: service.accepted, PATIENCE, "it is connected")
            entry.agent.stop()
            assert isinstance(service.wait_failure(PATIENCE), ConnectionResetError)
            assert_reset(client, PATIENCE)


class TestTidiness:
    def test_nothing_is_left_of_many_sessions(self, tunnel: Tunnel) -> None:
        import gc
        import os

        port = tunnel.to(tunnel.service(echo))

        def some(count: int) -> None:
            for number in range(count):
                with connect(port) as client:
                    client.sendall(b"hello")
                    assert receive_exactly(client, 5) == b"hello"
                    if number % 3 == 0:
                        client.setsockopt(*ABORTIVE)
                    elif number % 3 == 1:
                        client.shutdown(socket.SHUT_WR)
                        assert receive_all(client) == b""
            tunnel.wait_idle()

        def left() -> tuple[int, int]:
            gc.collect()
            greenlets = [each for each in gc.get_objects() if isinstance(each, gevent.Greenlet) and not each.dead]
            return len(os.listdir("/proc/self/fd")), len(greenlets)

        some(6)
        before = left()
        some(30)
        poll(lambda: left() <= before, PATIENCE, f"all is as before: {before}, now {left()}", 0.1)

    def test_budgets_are_given_back(self, tunnel: Tunnel) -> None:
        port = tunnel.to(tunnel.service(echo))
        for _ in range(5):
            assert_echo(port)
        tunnel.wait_idle()
        for running in tunnel.agents:
            assert running.agent._sessions.bytes_in_use == 0
