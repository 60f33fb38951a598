"""The links between workers: dialling, proving, calling, and what becomes of workers that do not answer."""

from __future__ import annotations

import json
import logging
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
from websockets.protocol import Side

from hubble.base.errors import LinkClosed
from hubble.mesh import mesh as mesh_module
from hubble.mesh import messages as peering
from hubble.mesh.mesh import WorkerUnreachable
from hubble.mesh.messages import Call, Hello
from hubble.mesh.sockets import listen_on_path, remove_dead
from hubble.transport.link import Keepalive, Link
from tests.support.relay import Relay
from tests.support.waiting import poll
from tests.support.workers import SECRET, Peer, tcp_listener

Start = Callable[..., Peer]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts peers that share a directory, and stops them all."""
    peers: list[Peer] = []

    def start_it(name: str, **settings: Any) -> Peer:
        peers.append(Peer(tmp_path, name, **settings))
        return peers[-1]

    yield start_it
    for peer in peers:
        peer.stop()


def test_a_call_is_answered(start: Start) -> None:
    one, _ = start("one"), start("two")
    assert one.mesh.call("two", "name", number=7) == {"worker": "two", "number": 7}
    assert one.mesh.call("one", "name") == {"worker": "one"}


def test_a_link_is_known_at_both_ends_while_it_lives(start: Start) -> None:
    one, two = start("one"), start("two")
    assert not one.mesh.is_linked("two")
    one.mesh.call("two", "name")
    assert one.mesh.is_linked("two") and two.mesh.is_linked("one")
    one.stop()
    poll(lambda: not two.mesh.is_linked("one"), 5, "the end of the link is noticed")


def test_a_call_that_fails_there_fails_here(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    one, two = start("one"), start("two")

    def fails(arguments: dict[str, Any]) -> None:
        raise KeyError("this")

    two.mesh.methods["fails"] = fails
    with pytest.raises(WorkerUnreachable, match="KeyError: 'this'"):
        one.mesh.call("two", "fails")
    with pytest.raises(WorkerUnreachable, match="unknown method unheard"):
        one.mesh.call("two", "unheard")
    assert one.mesh.call("two", "name") == {"worker": "two"}


def test_a_call_of_all_leaves_out_workers_that_do_not_answer(start: Start) -> None:
    one, _, three = start("one"), start("two"), start("three")
    three.mesh.methods["name"] = lambda arguments: gevent.sleep(60)
    started = time.monotonic()
    answers = one.mesh.call_all("name", timeout=0.3)
    assert answers == {"one": {"worker": "one"}, "two": {"worker": "two"}}
    assert time.monotonic() - started < 3


def test_concurrent_requests_for_a_link_share_one(start: Start) -> None:
    one, two = start("one"), start("two")
    calls = [gevent.spawn(one.mesh.call, "two", "name") for _ in range(50)]
    calls += [gevent.spawn(two.mesh.call, "one", "name") for _ in range(50)]
    gevent.joinall(calls, raise_error=True)
    assert len(one.peers) == len(two.peers) == 2  # one that each has dialled


def test_a_call_fails_at_once_when_its_link_is_lost(start: Start) -> None:
    one, two = start("one"), start("two")
    two.mesh.methods["name"] = lambda arguments: gevent.sleep(60)
    call = gevent.spawn(one.mesh.call, "two", "name")
    poll(lambda: two.peers, 5, "the link is there")
    gevent.sleep(0)
    two.peers[0].link.abort("cut by the test")
    with pytest.raises(WorkerUnreachable, match="was lost"):
        call.get(timeout=2)


def test_a_lost_link_is_dialled_again_and_nothing_is_left_of_it(start: Start) -> None:
    one, two = start("one"), start("two")
    for _ in range(3):
        assert one.mesh.call("two", "name") == {"worker": "two"}
        two.peers[0].link.abort("cut by the test")
        poll(lambda: not one.peers and not two.peers, 5, "both have noticed")
    assert not one.mesh._peers and not one.mesh._links and not one.mesh._calls and not two.mesh._links
    assert not len(one.mesh._dialling)


def test_a_dead_worker_is_taken_out_of_the_directory_by_one_attempt(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = start("one"), start("two")
    for server in two.mesh._servers:
        server.close()
    attempts = [gevent.spawn(one.mesh.peer, "two") for _ in range(20)]
    gevent.joinall(attempts)
    assert all(isinstance(attempt.exception, WorkerUnreachable) for attempt in attempts)
    assert caplog.text.count("is unreachable: no process listens at its address") == 1
    assert one.directory.worker("two") is None


def test_a_worker_that_hangs_is_waited_for_once(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mesh_module, "HELLO_TIMEOUT", 0.3)
    one, two = start("one"), start("two")
    for server in two.mesh._servers:
        server.stop_accepting()
    started = time.monotonic()
    attempts = [gevent.spawn(one.mesh.peer, "two") for _ in range(20)]
    gevent.joinall(attempts)
    assert time.monotonic() - started < 1
    assert all(isinstance(attempt.exception, WorkerUnreachable) for attempt in attempts)
    assert one.directory.worker("two") is None
    assert not one.mesh._links


def test_a_worker_elsewhere_that_cannot_be_reached_stays_in_the_directory(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be reached by others: only its lease decides. It is left alone for a while."""
    monkeypatch.setattr(mesh_module, "HELLO_TIMEOUT", 0.3)
    one = start("one", node="here", secret=SECRET)
    two = start("two", node="there", secret=SECRET, remote=tcp_listener())
    for server in two.mesh._servers:
        server.stop_accepting()
    started = time.monotonic()
    for _ in range(5):
        with pytest.raises(WorkerUnreachable):
            one.mesh.peer("two")
    assert time.monotonic() - started < 1
    assert one.directory.worker("two") == two.worker


def test_a_link_that_falls_silent_is_dead(start: Start) -> None:
    listener = tcp_listener()
    relay = Relay(("127.0.0.1", listener.getsockname()[1]))
    keepalive = Keepalive(0.1, 0.4)
    one = start("one", node="here", secret=SECRET, keepalive=keepalive)
    start("two", node="there", secret=SECRET, remote=listener, advertise=relay.port, keepalive=keepalive)
    try:
        assert one.mesh.call("two", "name") == {"worker": "two"}
        relay.freeze()
        with pytest.raises(WorkerUnreachable):
            one.mesh.call("two", "name")
        assert not one.peers
        relay.cut()
        relay.heal()
        assert one.mesh.call("two", "name") == {"worker": "two"}
    finally:
        relay.close()


def test_the_unix_socket_is_taken_on_the_same_machine_only(start: Start, tmp_path: Path) -> None:
    one = start("one", node="here", secret=SECRET)
    start("two", node="here", secret=SECRET, remote=tcp_listener())
    start("three", node="there", secret=SECRET, remote=tcp_listener())
    families = {name: one.mesh.peer(name).link._stream._sock.family for name in ("two", "three")}
    assert families == {"two": socket.AF_UNIX, "three": socket.AF_INET}


def test_another_worker_at_the_address_means_that_the_first_is_gone(start: Start) -> None:
    one, two = start("one"), start("two")
    three = start("three")
    two.path.unlink()
    three.path.rename(two.path)
    with pytest.raises(WorkerUnreachable, match="worker three now listens at its address"):
        one.mesh.peer("two")
    assert one.directory.worker("two") is None
    assert two.directory.worker("one") is not None


# The secret.


@pytest.mark.parametrize("knows", ["dialler", "listener"])
def test_both_sides_must_know_the_secret(start: Start, knows: str, caplog: pytest.LogCaptureFixture) -> None:
    listener = start(
        "listener", node="there", secret=SECRET if knows == "listener" else b"x" * 16, remote=tcp_listener()
    )
    dialler = start("dialler", node="here", secret=SECRET if knows == "dialler" else b"x" * 16)
    with pytest.raises(WorkerUnreachable, match="does not know the cluster's secret"):
        dialler.mesh.peer("listener")
    assert not listener.peers
    assert dialler.directory.worker("listener") == listener.worker  # or a stranger could empty the directory
    assert SECRET.decode() not in caplog.text


class Stranger:
    """Speaks to a worker as whoever it likes, without the secret."""

    def __init__(self, peer: Peer) -> None:
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(peer.path))
        self.link = Link(sock, Side.CLIENT, masked=False)
        self.messages = self.link.messages()

    def say(self, data: bytes) -> None:
        self.link.send(data)

    def hear(self) -> Hello:
        with gevent.Timeout(5):
            message = peering.decode(next(self.messages))
        assert isinstance(message, Hello)
        return message

    def is_refused(self) -> bool:
        """Whether the worker closes the link."""
        try:
            with gevent.Timeout(5):
                list(self.messages)
        except LinkClosed:
            return True
        raise AssertionError("messages() has ended without LinkClosed")


@pytest.mark.parametrize(
    "first",
    [
        b"",
        b"\x00",
        b"\x30",
        peering.encode(Call(1, "name")),
        b"\x30" + json.dumps({"worker": 1, "challenge": 2}).encode(),
        b"\x30" + json.dumps({"worker": "one", "challenge": "1" * 64, "proof": 3}).encode(),
        b"\x30" + b"[" * 100_000,
        bytes(1 << 20),
    ],
)
def test_a_link_that_begins_with_another_message_is_refused(
    start: Start, first: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    one = start("one", secret=SECRET)
    stranger = Stranger(one)
    stranger.say(first)
    assert stranger.is_refused()
    poll(lambda: not one.mesh._links, 5, "nothing is left of it")
    assert "Traceback" not in caplog.text
    assert not one.peers


def test_a_workers_own_proof_does_not_help_a_stranger(start: Start) -> None:
    """It asks the worker itself to prove what it must prove, on a second link: as anybody, and as the worker."""
    one = start("one", secret=SECRET)
    for name in ("one", "two"):
        victim, oracle = Stranger(one), Stranger(one)
        mine = Hello(name, "1" * 64)
        victim.say(peering.encode(mine))
        theirs = victim.hear()
        oracle.say(peering.encode(Hello(theirs.worker, theirs.challenge)))
        answer = oracle.hear()
        for proved in (answer.proof, theirs.proof, ""):
            victim.say(peering.encode(Hello(mine.worker, mine.challenge, proved)))
        victim.say(peering.encode(Call(1, "name")))
        assert victim.is_refused()
        oracle.link.abort("done")
    assert not one.peers


def test_a_second_challenge_is_not_accepted(start: Start) -> None:
    one = start("one", secret=SECRET)
    stranger = Stranger(one)
    first, second = Hello("two", "1" * 64), Hello("two", "2" * 64)
    stranger.say(peering.encode(first))
    theirs = stranger.hear()
    proved = peering.proof(SECRET, second, theirs, dialled=True)
    stranger.say(peering.encode(Hello("two", second.challenge, proved)))
    assert stranger.is_refused()


def test_strangers_are_limited_in_number_and_time(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(mesh_module, "MOST_STRANGERS", 3)
    monkeypatch.setattr(mesh_module, "HELLO_TIMEOUT", 0.5)
    one, two = start("one"), start("two")
    strangers = [Stranger(one) for _ in range(4)]
    assert strangers[3].is_refused()
    assert all(stranger.is_refused() for stranger in strangers[:3])
    assert one.mesh._strangers == 0
    assert two.mesh.call("one", "name") == {"worker": "one"}
    caplog.set_level(logging.WARNING)


# Socket files.


def test_the_socket_files_of_the_dead_are_removed(tmp_path: Path) -> None:
    listeners = {name: listen_on_path(tmp_path / f"{name}.sock") for name in ("dead", "spared", "hung")}
    listeners["dead"].close()
    listeners["spared"].close()
    (tmp_path / "directory.sqlite").touch()
    remove_dead(tmp_path, {"spared"})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["directory.sqlite", "hung.sock", "spared.sock"]
    listeners["hung"].close()
