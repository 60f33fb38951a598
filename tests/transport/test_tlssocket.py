"""TLS whose records are read and written apart from it: with OpenSSL at the other end, and through TLS itself."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent import socket, subprocess

from hubble.transport.addresses import Socket
from hubble.transport.serve.servertls import server_context
from hubble.transport.stream import open_stream
from hubble.transport.tls import TLSOptions, client_context, shake_hands, wrap
from hubble.transport.tlssocket import AT_A_TIME, MOST_ANSWERS, TLSSocket
from tests.support import programs
from tests.support.certificates import Authority
from tests.support.pairs import PATIENCE, Pair, Pairs

PLENTY = os.urandom(1 << 20) * 8
RECORD = 16 * 1024


@pytest.fixture
def tls_pair(all_pairs: Pairs) -> Iterator[Pair]:
    pair = all_pairs.make("tls")
    yield pair
    pair.close()


@pytest.fixture
def server_side(ca: Authority) -> ssl.SSLContext:
    identity = ca.issue("localhost")
    return server_context(identity.cert, identity.key)


def read_exactly(read: Callable[[int], bytes], size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        more = read(size - len(data))
        assert more, f"ended after {len(data)} of {size} bytes"
        data += more
    return bytes(data)


def records_of(sock: Socket) -> Any:
    assert isinstance(sock, TLSSocket)
    return sock.records


def listening(path: str) -> Socket:
    listener: Socket = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    return listener


def both_ways(mine: Any, theirs: Socket) -> None:
    """Both sides send plenty, each while it receives."""
    senders = [gevent.spawn(mine.sendall, PLENTY), gevent.spawn(theirs.sendall, PLENTY[::-1])]
    there = gevent.spawn(read_exactly, theirs.recv, len(PLENTY))
    assert read_exactly(mine.recv, len(PLENTY)) == PLENTY[::-1]
    assert there.get(timeout=PATIENCE) == PLENTY
    gevent.joinall(senders, timeout=PATIENCE, raise_error=True)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("is_server", [False, True], ids=["as a client", "as a server"])
def test_openssl_at_the_other_end(
    all_pairs: Pairs, ca: Authority, server_side: ssl.SSLContext, version: ssl.TLSVersion, is_server: bool
) -> None:
    raw = all_pairs.make("tcp")
    client_side = client_context(TLSOptions(ca_file=ca.file))
    client_side.maximum_version = version
    if is_server:
        other = gevent.spawn(client_side.wrap_socket, raw.client, server_hostname="localhost")
        mine = shake_hands(server_side, raw.server, server_side=True)
    else:
        other = gevent.spawn(server_side.wrap_socket, raw.server, server_side=True)
        mine = wrap(raw.client, "localhost", client_side)
    theirs = other.get(timeout=PATIENCE)
    assert theirs.version() == mine.version() == version.name.replace("v1_", "v1.")  # type: ignore[attr-defined]
    both_ways(open_stream(mine), theirs)
    theirs.close()
    assert open_stream(mine).recv(1) == b""


def test_the_other_side_s_good_bye_is_the_end(tls_pair: Pair) -> None:
    stream = open_stream(tls_pair.client)
    tls_pair.server.sendall(b"last")
    with pytest.raises(ssl.SSLWantReadError):  # it waits for ours
        records_of(tls_pair.server).object.unwrap()
    tls_pair.server._flush()  # type: ignore[attr-defined]
    assert stream.recv(100) == b"last"
    assert stream.recv(100) == stream.recv(100) == b""


def test_tls_through_tls(all_pairs: Pairs, ca: Authority, server_side: ssl.SSLContext) -> None:
    outer = all_pairs.make("tls")
    server = gevent.spawn(shake_hands, server_side, outer.server, server_side=True)
    client = wrap(outer.client, "localhost", client_context(TLSOptions(ca_file=ca.file)))
    with server.get(timeout=PATIENCE) as theirs:
        both_ways(open_stream(client), theirs)
        theirs.close()
        assert client.recv(100) == b""


def test_many_records_move_at_a_time(tls_pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason for all this: OpenSSL makes a system call for each record that it writes, and two to read it."""
    calls: list[str] = []

    def counted(name: str) -> None:
        call = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *arguments: [calls.append(name), call(*arguments)][1])  # type: ignore[func-returns-value]

    data = PLENTY[: 4 * RECORD]
    mine, theirs = open_stream(tls_pair.client), open_stream(tls_pair.server)
    counted("write")
    counted("readv")
    mine.sendall(data)
    assert calls == ["write"]
    buffer = memoryview(bytearray(8 * RECORD))
    assert theirs.recv_into(buffer) == len(data)
    assert calls == ["write", "readv"]
    assert buffer[: len(data)] == data


def test_what_is_encrypted_and_not_taken_is_bounded(tls_pair: Pair) -> None:
    stream = open_stream(tls_pair.client)
    taken = stream.send_now(PLENTY)
    while more := stream.send_now(PLENTY[taken:]):
        taken += more
    assert taken < len(PLENTY)
    refused = 0
    while refused < 100:  # in a row: the kernel may move bytes to the receiver meanwhile
        more = stream.send_now(PLENTY[taken:])
        taken, refused = taken + more, 0 if more else refused + 1
    waiting = len(stream._unsent) + len(records_of(tls_pair.client).output())  # type: ignore[attr-defined]
    assert 0 < waiting < AT_A_TIME + RECORD
    arrived = gevent.spawn(read_exactly, tls_pair.server.recv, taken)  # what is said to be taken needs no more help
    assert arrived.get(timeout=PATIENCE) == PLENTY[:taken]


@pytest.mark.parametrize("as_stream", [True, False], ids=["stream", "socket"])
def test_a_reader_answers_while_a_writer_waits(ca: Authority, tmp_path: Path, as_stream: bool) -> None:
    """A key update is answered between whole records: anywhere else the answer would end the connection."""
    identity = ca.issue("localhost")
    updates, path = 50, str(tmp_path / "listener")  # the kernel keeps less of what goes through a Unix socket
    with (
        listening(path) as listener,
        (tmp_path / "said").open("w") as said,
        subprocess.Popen(
            [programs.require("openssl"), "s_client", "-brief", "-unix", path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
        ) as client,
    ):
        sock = shake_hands(server_context(identity.cert, identity.key), listener.accept()[0], server_side=True)
        mine: Any = open_stream(sock) if as_stream else sock
        writer = gevent.spawn(mine.sendall, PLENTY)
        reader = gevent.spawn(read_exactly, mine.recv, len(b"hello\n"))
        received = b""
        for _ in range(updates):
            received += read_exactly(client.stdout.read, len(PLENTY) // updates // 2)
            client.stdin.write(b"K\n")  # update your keys, and ask for the same
            client.stdin.flush()
            gevent.sleep(0.005)  # s_client takes a line for a command only if it came by itself
        assert not writer.ready(), "the writer never had to wait"
        received += read_exactly(client.stdout.read, len(PLENTY) - len(received))
        client.stdin.write(b"hello\n")
        client.stdin.flush()
        assert reader.get(timeout=PATIENCE) == b"hello\n"
        writer.get(timeout=PATIENCE)
        mine.close()
        client.kill()
    assert received == PLENTY
    assert (tmp_path / "said").read_text().count("KEYUPDATE") == updates


def test_a_side_that_asks_and_does_not_read_the_answers(tls_pair: Pair) -> None:
    stream = open_stream(tls_pair.client)
    while stream.send_now(PLENTY):
        pass
    records_of(tls_pair.client)._outgoing.write(bytes(MOST_ANSWERS + 1))
    tls_pair.server.sendall(b"more")
    with pytest.raises(OSError, match="does not read the answers"):
        stream.recv(10)


@pytest.mark.parametrize("as_stream", [True, False], ids=["stream", "socket"])
def test_what_came_before_a_broken_record_is_received(tls_pair: Pair, as_stream: bool) -> None:
    tls_pair.server.sendall(b"good")
    tls_pair.server.below.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))  # type: ignore[attr-defined]
    mine = open_stream(tls_pair.client) if as_stream else tls_pair.client
    assert mine.recv(100) == b"good"
    for _ in range(2):
        with pytest.raises(ssl.SSLError, match=r"BAD_RECORD_MAC|bad record mac"):
            mine.recv(100)
    with pytest.raises(ssl.SSLError, match="ALERT_BAD_RECORD_MAC"):  # it has been told
        tls_pair.server.recv(100)


def test_what_was_read_too_early_is_not_lost_to_the_stream(tls_pair: Pair) -> None:
    tls_pair.server.sendall(b"first and second")
    assert tls_pair.client.recv(5) == b"first"
    assert open_stream(tls_pair.client).recv(100) == b" and second"


def test_a_file_to_read_from(tls_pair: Pair) -> None:
    tls_pair.server.sendall(b"line\nrest")
    with tls_pair.client.makefile("rb", -1) as file:
        assert file.readline() == b"line\n"
        tls_pair.client.settimeout(0)
        assert file.read1(100) == b"rest"
        with pytest.raises(BlockingIOError):
            file.read1(100)
    tls_pair.client.settimeout(None)
    tls_pair.server.sendall(b"still open")
    assert tls_pair.client.recv(100) == b"still open"
