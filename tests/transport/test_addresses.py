from __future__ import annotations

import ipaddress
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent import socket

from hubble.base.errors import DialError
from hubble.transport import addresses
from hubble.transport.addresses import connect, resolve

Sockaddr = tuple[Any, ...]


def family_of(host: str) -> int:
    return int(socket.AF_INET6 if ":" in host else socket.AF_INET)


@contextmanager
def listener(host: str = "127.0.0.1", port: int = 0) -> Iterator[Any]:
    with socket.socket(family_of(host)) as sock:
        sock.bind((host, port))
        sock.listen()
        yield sock


@contextmanager
def silent() -> Iterator[Sockaddr]:
    """An address that never answers: its queue of connections to accept is full, so the kernel drops more."""
    with ExitStack() as stack:
        sock = stack.enter_context(socket.socket())
        sock.bind(("127.0.0.1", 0))
        sock.listen(0)
        for _ in range(2):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(sock.getsockname())
        yield sock.getsockname()


@contextmanager
def refusing() -> Iterator[Sockaddr]:
    """An address that refuses: bound, so that nobody else gets it, and not listening."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()


@pytest.fixture
def name_has(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Has every name resolve to the socket addresses given."""

    def resolve_to(*found: Sockaddr) -> None:
        def getaddrinfo(host: str, port: None, **_: Any) -> list[Any]:
            return [(family_of(address[0]), socket.SOCK_STREAM, 6, "", address) for address in found]

        monkeypatch.setattr("hubble.transport.addresses.getaddrinfo", getaddrinfo)

    return resolve_to


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


class TestConnect:
    def test_ipv4_and_ipv6_addresses(self) -> None:
        for host in ("127.0.0.1", "::1"):
            with listener(host) as server, connect(host, server.getsockname()[1], 5) as sock:
                assert sock.getpeername()[:2] == server.getsockname()[:2]

    def test_a_name_with_both_families_of_which_one_refuses(self) -> None:
        with listener("127.0.0.1") as server, connect("localhost", server.getsockname()[1], 5) as sock:
            assert sock.getpeername() == server.getsockname()

    def test_no_delay_and_keepalive(self) -> None:
        with listener() as server, connect("127.0.0.1", server.getsockname()[1], 5) as sock:
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == addresses.KEEPALIVE_IDLE

    def test_after_a_refusal_the_next_address_is_tried_at_once(self, name_has: Any, monkeypatch: Any) -> None:
        monkeypatch.setattr(addresses, "STAGGER", 30.0)
        with refusing() as bad, listener() as server:
            name_has(bad, server.getsockname())
            with connect("name", 1, 5) as sock:
                assert sock.getpeername() == server.getsockname()

    def test_while_an_address_is_silent_the_next_is_tried_after_the_stagger(self, name_has: Any) -> None:
        with silent() as mute, listener() as server:
            name_has(mute, server.getsockname())
            started = time.monotonic()
            with connect("name", 1, 10) as sock:
                assert sock.getpeername() == server.getsockname()
            assert addresses.STAGGER <= time.monotonic() - started < 5

    def test_a_slow_first_address_may_still_win(self, name_has: Any, monkeypatch: Any) -> None:
        monkeypatch.setattr(addresses, "STAGGER", 0.05)
        with silent() as mute, listener("127.0.0.2") as server:
            name_has(server.getsockname(), mute)

            def slow(ip: addresses.IPAddress) -> None:
                if str(ip) == "127.0.0.2":
                    gevent.sleep(0.2)

            with connect("name", 1, 10, slow) as sock:
                assert sock.getpeername() == server.getsockname()

    def test_losers_are_closed(self, name_has: Any, monkeypatch: Any) -> None:
        monkeypatch.setattr(addresses, "STAGGER", 0.0)
        with silent() as mute, listener() as one, listener() as two:
            name_has(mute, one.getsockname(), two.getsockname())
            before = open_files()
            for _ in range(10):
                connect("name", 1, 5).close()
            assert open_files() == before

    def test_all_fail_names_each_address(self, name_has: Any) -> None:
        with silent() as mute, refusing() as bad:
            name_has(bad, ("::ffff:127.0.0.1", mute[1], 0, 0), ("2001:db8::1", 0, 0, 0))
            with pytest.raises(DialError) as caught:
                connect("name", 80, 0.4)
        text = str(caught.value)
        assert text.startswith("cannot connect to name:80: ")
        assert "127.0.0.1: Connection refused" in text
        assert "127.0.0.1: no answer within 0.4 s" in text
        assert "2001:db8::1: " in text

    def test_the_address_itself_is_said_once(self) -> None:
        with refusing() as bad, pytest.raises(DialError) as caught:
            connect("127.0.0.1", bad[1], 5)
        assert str(caught.value) == f"cannot connect to 127.0.0.1:{bad[1]}: Connection refused"

    def test_a_long_list_of_failures_is_cut(self, name_has: Any) -> None:
        with refusing() as bad:
            name_has(*((f"127.0.0.{last}", bad[1]) for last in range(1, 9)))
            with pytest.raises(DialError, match=r"127\.0\.0\.4: Connection refused; and 4 more$"):
                connect("name", 1, 5)

    def test_the_time_is_bounded_when_nothing_answers(self, name_has: Any) -> None:
        with silent() as one, silent() as two:
            name_has(one, two)
            started = time.monotonic()
            with pytest.raises(DialError, match=r"no answer within 0\.5 s"):
                connect("name", 1, 0.5)
            assert time.monotonic() - started < 5

    def test_the_time_is_bounded_when_the_resolver_hangs(self, monkeypatch: Any) -> None:
        monkeypatch.setattr("hubble.transport.addresses.getaddrinfo", lambda *_, **__: gevent.sleep(60))
        with pytest.raises(DialError, match=r"not resolved within 0\.1 s"):
            connect("name", 1, 0.1)

    def test_a_timeout_of_the_caller_passes_through(self, name_has: Any) -> None:
        with silent() as mute:
            name_has(mute)
            before = open_files()
            with pytest.raises(gevent.Timeout), gevent.Timeout(0.1):
                connect("name", 1, 60)
            assert open_files() == before


class TestCheck:
    def test_a_forbidden_address_is_never_dialled(self, name_has: Any) -> None:
        seen: list[addresses.IPAddress] = []

        def check(ip: addresses.IPAddress) -> None:
            seen.append(ip)
            if ip == ipaddress.ip_address("127.0.0.2"):
                raise DialError("forbidden here")

        with listener("127.0.0.2") as bad, listener() as good:
            name_has(bad.getsockname(), good.getsockname())
            with connect("name", 1, 5, check) as sock:
                assert sock.getpeername() == good.getsockname()
            bad.setblocking(False)
            with pytest.raises(BlockingIOError):
                bad.accept()
        assert [str(ip) for ip in seen] == ["127.0.0.2", "127.0.0.1"]

    def test_its_words_are_the_error(self) -> None:
        def check(ip: addresses.IPAddress) -> None:
            raise DialError("forbidden here")

        with listener() as server, pytest.raises(DialError, match=r"^cannot connect to .*: forbidden here$"):
            connect("127.0.0.1", server.getsockname()[1], 5, check)

    def test_it_sees_through_mapped_addresses(self) -> None:
        seen: list[addresses.IPAddress] = []
        with listener() as server:
            connect("::ffff:127.0.0.1", server.getsockname()[1], 5, seen.append).close()
        assert seen == [ipaddress.ip_address("127.0.0.1")]


class TestResolve:
    def test_families_take_turns_the_preferred_one_first(self, name_has: Any) -> None:
        six = [(f"2001:db8::{n}", 1, 0, 0) for n in (1, 2, 3)]
        four = [("192.0.2.1", 1)]
        name_has(*six, *four)
        assert [str(address.ip) for address in resolve("name", 1)] == [
            "2001:db8::1",
            "192.0.2.1",
            "2001:db8::2",
            "2001:db8::3",
        ]

    def test_an_address_found_twice_is_tried_once(self, name_has: Any) -> None:
        name_has(("192.0.2.1", 1), ("192.0.2.1", 1))
        assert len(resolve("name", 1)) == 1

    @pytest.mark.parametrize("host", ["no.such.name.invalid", "a..b", "x" * 64, "nul\0", "[::1]", "1.2.3.4.5"])
    def test_a_name_that_is_none(self, host: str) -> None:
        with pytest.raises(DialError, match=r"^cannot resolve "):
            resolve(host, 80)

    def test_an_empty_name_is_not_this_machine(self) -> None:
        with pytest.raises(DialError, match="the host name is empty"):
            resolve("", 80)

    @pytest.mark.parametrize("port", [0, -1, 65536])
    def test_a_port_that_is_none(self, port: int) -> None:
        with pytest.raises(DialError, match="not between 1 and 65535"):
            resolve("127.0.0.1", port)
