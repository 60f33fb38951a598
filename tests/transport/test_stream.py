from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import gevent
import pytest
from gevent import socket

from hubble.transport.addresses import Socket
from hubble.transport.stream import SocketStream, open_stream
from tests.support.pairs import PATIENCE, Pair, Pairs
from tests.support.waiting import poll

PLENTY = bytes(range(256)) * 32 * 1024
"""More than the kernel takes on its own."""


@pytest.fixture
def stream(pair: Pair) -> Iterator[SocketStream]:
    """The client's end; `pair.server` is at the other."""
    stream = open_stream(pair.client)
    yield stream
    stream.close()


def read_all(sock: Socket) -> bytes:
    parts = []
    while data := sock.recv(1 << 20):
        parts.append(data)
    return b"".join(parts)


def read_exactly(read: Callable[[int], bytes], size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = read(size - len(data))
        assert more, f"ended after {len(data)} of {size} bytes"
        data += more
    return data


def blocked(call: Callable[..., object], *arguments: object) -> gevent.Greenlet:
    """A greenlet that has begun the call, and waits in it."""
    greenlet = gevent.spawn(call, *arguments)
    gevent.idle()
    assert not greenlet.ready()
    return greenlet


def test_what_was_sent_is_received(stream: SocketStream, pair: Pair) -> None:
    pair.server.sendall(b"hello world")
    assert read_exactly(stream.recv, 5) == b"hello"
    buffer = bytearray(100)
    assert stream.recv_into(memoryview(buffer)) == 6
    assert bytes(buffer[:6]) == b" world"


def test_a_read_waits_for_bytes(stream: SocketStream, pair: Pair) -> None:
    reader = blocked(stream.recv, 10)
    pair.server.sendall(b"late")
    assert reader.get(timeout=PATIENCE) == b"late"


def test_the_end_of_the_stream(stream: SocketStream, pair: Pair) -> None:
    pair.server.sendall(b"last")
    pair.server.close()
    assert read_exactly(stream.recv, 4) == b"last"
    assert stream.recv(10) == b""
    assert stream.recv_into(memoryview(bytearray(10))) == 0


def test_after_its_end_a_stream_still_receives(stream: SocketStream, pair: Pair) -> None:
    reader = blocked(stream.recv, 10)
    stream.sendall(b"all")
    stream.end()
    assert read_all(pair.server) == b"all"
    pair.server.sendall(b"answer")
    assert reader.get(timeout=PATIENCE) == b"answer"


def test_tls_that_only_its_own_methods_can_read_ends_as_well(all_pairs: Pairs) -> None:
    pair = all_pairs.make("tls")
    stream = SocketStream(pair.client)
    reader = blocked(stream.recv, 10)
    stream.end()
    pair.server.sendall(b"answer")
    assert reader.get(timeout=PATIENCE) == b"answer"
    stream.close()


def test_sending_now_never_waits(stream: SocketStream, pair: Pair) -> None:
    taken = stream.send_now(b"hello")
    assert taken == 5
    stream.sendall(b"hello"[taken:])
    assert read_exactly(pair.server.recv, 5) == b"hello"


def test_the_kernel_takes_only_so_much(memory_pair: Pair) -> None:
    stream = open_stream(memory_pair.client)
    taken = stream.send_now(PLENTY)
    assert 0 < taken < len(PLENTY)
    assert stream.send_now(PLENTY[taken:]) == 0
    writer = blocked(stream.sendall, memoryview(PLENTY)[taken:])
    assert read_exactly(memory_pair.server.recv, len(PLENTY)) == PLENTY
    writer.get(timeout=PATIENCE)


def test_sending_all_waits_for_the_receiver(stream: SocketStream, pair: Pair) -> None:
    writer = blocked(stream.sendall, PLENTY)
    assert read_exactly(pair.server.recv, len(PLENTY)) == PLENTY
    writer.get(timeout=PATIENCE)


def test_one_greenlet_reads_while_another_writes(stream: SocketStream, pair: Pair) -> None:
    reader = blocked(read_exactly, stream.recv, len(PLENTY))
    writer = blocked(stream.sendall, PLENTY)
    echo = gevent.spawn(lambda: pair.server.sendall(read_exactly(pair.server.recv, len(PLENTY))))
    assert reader.get(timeout=PATIENCE) == PLENTY
    gevent.joinall([writer, echo], timeout=PATIENCE, raise_error=True)


def test_closing_wakes_a_reader_and_a_writer(stream: SocketStream) -> None:
    reader, writer = blocked(stream.recv, 10), blocked(stream.sendall, PLENTY)
    stream.close()
    for greenlet in (reader, writer):
        with pytest.raises(OSError):
            greenlet.get(timeout=PATIENCE)


def test_a_closed_stream_refuses_everything(stream: SocketStream, pair: Pair) -> None:
    assert not stream.closed
    stream.close()
    stream.close()
    assert stream.closed
    assert pair.client.fileno() == -1
    calls: list[Callable[[], object]] = [
        lambda: stream.recv(1),
        lambda: stream.recv_into(memoryview(bytearray(1))),
        lambda: stream.send_now(b"x"),
        lambda: stream.sendall(b"x"),
        lambda: stream.end(),
    ]
    for call in calls:
        with pytest.raises(OSError):
            call()


def test_a_new_socket_with_the_same_descriptor_is_left_alone(all_pairs: Pairs) -> None:
    first = all_pairs.make("memory")
    stream = open_stream(first.client)
    number = first.client.fileno()
    reader = blocked(stream.recv, 10)
    stream.close()
    with pytest.raises(OSError):
        reader.get(timeout=PATIENCE)
    poll(lambda: not Path(f"/proc/self/fd/{number}").is_symlink(), PATIENCE, "the descriptor is free")
    second = all_pairs.make("memory")
    assert number in (second.client.fileno(), second.server.fileno())
    for mine, theirs in (second, second[::-1]):
        waiting = blocked(open_stream(mine).recv, 10)
        theirs.sendall(b"hello")
        assert waiting.get(timeout=PATIENCE) == b"hello"


def test_a_reset_is_an_error_and_no_end(all_pairs: Pairs) -> None:
    pair = all_pairs.make("tcp")
    stream = open_stream(pair.client)
    reader = blocked(stream.recv, 10)
    pair.server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    pair.server.close()
    with pytest.raises(ConnectionResetError):
        reader.get(timeout=PATIENCE)
    stream.close()


def test_an_option_set_before_closing_takes_effect(all_pairs: Pairs) -> None:
    pair = all_pairs.make("tcp")
    stream = open_stream(pair.client)
    stream.set_option(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.close()
    with pytest.raises(ConnectionResetError):
        pair.server.recv(1)
