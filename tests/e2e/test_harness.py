"""The tools of the end-to-end tests do what the tests rely on."""

from __future__ import annotations

import socket
import sys
import time
from pathlib import Path

import gevent
import pytest

from tests.support.processes import Process
from tests.support.services import Exchange, Service, digest, digest_at_end, echo, receive_all, receive_exactly
from tests.support.stage import Stage
from tests.support.traffic import BLOCK, Pattern, WrongBytes, exchange
from tests.support.waiting import poll


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=5)


def echoed(sock: socket.socket, data: bytes) -> bytes:
    sock.sendall(data)
    return receive_exactly(sock, len(data))


def test_a_pattern_knows_every_byte_of_itself() -> None:
    pattern = Pattern(7)
    whole = pattern.block(0) + pattern.block(1) + pattern.block(2)
    pattern.check(0, whole)
    pattern.check(BLOCK - 3, whole[BLOCK - 3 : BLOCK + 9])


@pytest.mark.parametrize(
    ("offset", "data"),
    [
        (0, Pattern(8).block(0)),  # another stream
        (0, Pattern(7).block(1)),  # another place
        (100, Pattern(7).cut(101, 50)),  # one byte lost
        (100, Pattern(7).cut(99, 50)),  # one byte doubled
    ],
)
def test_a_pattern_refuses_what_is_not_its_own(offset: int, data: bytes) -> None:
    with pytest.raises(WrongBytes):
        Pattern(7).check(offset, data)


def test_exchange_carries_both_ways_through_a_relay(stage: Stage) -> None:
    service = stage.add(Exchange())
    relay = stage.relay(("127.0.0.1", service.port))
    exchange(relay.port, 1, 3_000_001)
    service.changes.wait_until(lambda: service.completed, 5, "the service has seen all")
    assert relay.carried == 2 * 3_000_001 + 16
    assert not service.failures


@pytest.mark.parametrize("spoil", [lambda data: data[:-1], lambda data: data + b"x", lambda data: b"x" + data[1:]])
def test_exchange_notices_spoilt_streams(stage: Stage, spoil: object) -> None:
    def spoilt(sock: socket.socket) -> None:
        receive_exactly(sock, 16)
        sock.sendall(spoil(Pattern(3).cut(0, 1000)))  # type: ignore[operator]
        sock.shutdown(socket.SHUT_WR)
        receive_all(sock)

    service = stage.add(Service(spoilt))
    with pytest.raises(WrongBytes):
        exchange(service.port, 1, 1000)


def test_a_relay_passes_half_close_on(stage: Stage) -> None:
    service = stage.add(Service(digest_at_end))
    relay = stage.relay(("127.0.0.1", service.port))
    with connect(relay.port) as sock:
        sock.sendall(b"abc")
        sock.shutdown(socket.SHUT_WR)
        assert receive_all(sock) == digest(b"abc")


def test_a_relay_cut_by_a_reset(stage: Stage) -> None:
    service = stage.add(Service(echo))
    relay = stage.relay(("127.0.0.1", service.port))
    with connect(relay.port) as sock:
        assert echoed(sock, b"before") == b"before"
        assert relay.cut("reset") == 1
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
    assert isinstance(service.wait_failure(5), ConnectionResetError)
    with connect(relay.port) as sock:
        assert echoed(sock, b"after") == b"after"


def test_a_relay_cut_by_an_end(stage: Stage) -> None:
    service = stage.add(Service(echo))
    relay = stage.relay(("127.0.0.1", service.port))
    with connect(relay.port) as sock:
        assert echoed(sock, b"before") == b"before"
        relay.cut("end")
        assert sock.recv(1) == b""
    assert not service.failures


def test_a_relay_passes_a_reset_on(stage: Stage) -> None:
    def abrupt(sock: socket.socket) -> None:
        sock.recv(1)  # the rest is left unread, so closing resets

    service = stage.add(Service(abrupt))
    relay = stage.relay(("127.0.0.1", service.port))
    with connect(relay.port) as sock:
        sock.sendall(b"abc")
        with pytest.raises(ConnectionResetError):
            sock.recv(1)


def test_a_frozen_relay_moves_nothing_until_healed(stage: Stage) -> None:
    service = stage.add(Service(echo))
    relay = stage.relay(("127.0.0.1", service.port))
    with connect(relay.port) as sock:
        assert echoed(sock, b"before") == b"before"
        relay.freeze()
        sock.sendall(b"during")
        sock.settimeout(0.2)
        with pytest.raises(TimeoutError):
            sock.recv(1)
        relay.heal()
        sock.settimeout(5)
        assert receive_exactly(sock, 6) == b"during"


def test_an_abandoned_connection_stays_silent_beside_new_ones(stage: Stage) -> None:
    service = stage.add(Service(echo))
    relay = stage.relay(("127.0.0.1", service.port))
    with connect(relay.port) as old, connect(relay.port) as new:
        assert echoed(old, b"before") == b"before"
        assert echoed(new, b"before") == b"before"
        relay.abandon()
        with connect(relay.port) as newest:
            assert echoed(newest, b"after") == b"after"
        old.sendall(b"lost")
        old.settimeout(0.2)
        with pytest.raises(TimeoutError):
            old.recv(1)


def test_a_vanished_connection_is_reset_on_one_side_only(stage: Stage) -> None:
    service = stage.add(Service(echo))
    relay = stage.relay(("127.0.0.1", service.port))
    with connect(relay.port) as sock:
        assert echoed(sock, b"before") == b"before"
        relay.vanish()
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
    with pytest.raises(TimeoutError):
        service.wait_failure(0.2)


def test_a_refusing_relay_resets_newcomers_only(stage: Stage) -> None:
    service = stage.add(Service(echo))
    relay = stage.relay(("127.0.0.1", service.port))
    with connect(relay.port) as old:
        assert echoed(old, b"before") == b"before"
        relay.refuse()
        with pytest.raises(ConnectionResetError), connect(relay.port) as new:
            new.recv(1)
        assert echoed(old, b"still") == b"still"
        relay.heal()
        with connect(relay.port) as new:
            assert echoed(new, b"after") == b"after"


def test_a_delaying_relay_delays_each_way(stage: Stage) -> None:
    service = stage.add(Service(echo))
    relay = stage.relay(("127.0.0.1", service.port), delay=0.05)
    with connect(relay.port) as sock:
        started = time.monotonic()
        assert echoed(sock, b"x") == b"x"
        assert 0.1 <= time.monotonic() - started < 0.3
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(1) == b""


def test_a_relay_limits_the_rate(stage: Stage) -> None:
    service = stage.add(Service(digest_at_end))
    relay = stage.relay(("127.0.0.1", service.port), delay=0.01, rate=10e6)
    data = Pattern(1).cut(0, 5_000_000)
    with connect(relay.port) as sock:
        started = time.monotonic()
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        assert receive_all(sock) == digest(data)
        assert 0.45 <= time.monotonic() - started < 0.9


def test_a_log_is_followed_over_restarts(tmp_path: Path) -> None:
    process = Process("greeter", [sys.executable, "-c", "print('hello'); import time; time.sleep(60)"], tmp_path)
    process.start()
    assert process.log.wait_for("hel+o") == "hello"
    mark = process.log.mark()
    process.kill()
    assert not process.running
    process.start()
    process.log.wait_for("hello", times=2)
    process.log.wait_for("hello", after=mark)
    with pytest.raises(TimeoutError):
        process.log.wait_for("hello", times=3, within=0.05)
    assert process.memory() > 1_000_000
    process.kill()
    assert process.log.path.read_text() == "hello\nhello\n"


def test_a_log_tells_at_once_when_its_process_has_ended(tmp_path: Path) -> None:
    process = Process("quitter", [sys.executable, "-c", "print('bye'); raise SystemExit(3)"], tmp_path)
    process.start()
    with pytest.raises(AssertionError, match=r"quitter ended without logging 'hello'"):
        process.log.wait_for("hello", within=20)
    assert process.wait() == 3


def test_polling_has_a_deadline() -> None:
    flags: list[bool] = []
    gevent.spawn_later(0.05, flags.append, True)
    assert poll(lambda: flags, 5, "the flag") == [True]
    with pytest.raises(TimeoutError, match="never"):
        poll(lambda: False, 0.05, "never")
