"""An answer is whole whichever side ends its stream first, however often one tries."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable

import pytest
from gevent.pool import Pool

from tests.support.commands import run
from tests.support.programs import require
from tests.support.scale import MB, scaled
from tests.support.services import Service, digest, digest_at_end, http_1_0, receive_all
from tests.support.sockets import connect
from tests.support.stage import Stage

TIMES = 200
AT_ONCE = 10


def repeatedly(attempt: Callable[[int], None]) -> None:
    """`attempt(n)` for n from 0 to TIMES - 1, some at once; raises what any of them raised."""
    pool = Pool(AT_ONCE)
    try:
        for _ in pool.imap_unordered(attempt, range(TIMES), maxsize=1):
            pass
    finally:
        pool.kill()


@pytest.mark.slow
def test_netcat_that_shuts_down_after_its_input_gets_the_whole_answer(stage: Stage) -> None:
    tunnel = stage.tunnel(stage.add(Service(digest_at_end)).port)
    command = [require("nc"), "-N", "127.0.0.1", str(tunnel.port())]

    def attempt(_number: int) -> None:
        assert run(command, stdin=b"x") == digest(b"x")

    repeatedly(attempt)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_an_answer_that_ends_by_closing_is_whole(stage: Stage) -> None:
    body = random.Random(1).randbytes(scaled(10 * MB, 2 * MB))
    tunnel = stage.tunnel(stage.add(Service(http_1_0(body))).port)

    def attempt(_number: int) -> None:
        with connect(tunnel.port()) as sock:
            sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
            head, _, received = receive_all(sock).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.0 200")
        assert len(received) == len(body)
        assert received == body

    repeatedly(attempt)


@pytest.mark.slow
def test_an_answer_after_the_clients_end_of_stream_is_whole(stage: Stage) -> None:
    tunnel = stage.tunnel(stage.add(Service(digest_at_end)).port)

    def attempt(number: int) -> None:
        question = random.Random(number).randbytes(number * 1000)
        with connect(tunnel.port()) as sock:
            sock.sendall(question)
            sock.shutdown(socket.SHUT_WR)
            assert receive_all(sock) == digest(question)

    repeatedly(attempt)


def test_a_client_may_go_on_after_the_services_end_of_stream(stage: Stage) -> None:
    heard: list[bytes] = []

    def ends_first(sock: socket.socket) -> None:
        sock.sendall(b"that is all")
        sock.shutdown(socket.SHUT_WR)
        heard.append(receive_all(sock))

    service = stage.add(Service(ends_first))
    tunnel = stage.tunnel(service.port)
    with connect(tunnel.port()) as sock:
        assert receive_all(sock) == b"that is all"
        sock.sendall(b"but I am not done" * 10_000)
        sock.shutdown(socket.SHUT_WR)
        service.changes.wait_until(lambda: heard, 10, "the service hears the rest")
    assert heard == [b"but I am not done" * 10_000]


def test_an_end_of_stream_at_once_is_passed_on(stage: Stage) -> None:
    tunnel = stage.tunnel(stage.add(Service(digest_at_end)).port)
    with connect(tunnel.port()) as sock:
        sock.shutdown(socket.SHUT_WR)
        assert receive_all(sock) == digest(b"")
