"""Links between machines over mutual TLS."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from gevent import socket

from hubble.base.errors import UsageError
from hubble.mesh.mesh import WorkerUnreachable
from hubble.mesh.tls import MeshTLS
from hubble.transport.addresses import connect
from hubble.transport.tlssocket import TLSSocket
from tests.support.certificates import Authority
from tests.support.workers import SECRET, Peer, tcp_listener

Start = Callable[..., Peer]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    peers: list[Peer] = []

    def start_it(name: str, tls: MeshTLS | None, **settings: Any) -> Peer:
        """A worker on a machine of its own."""
        peers.append(Peer(tmp_path, name, node=name, secret=SECRET, tls=tls, remote=tcp_listener(), **settings))
        return peers[-1]

    yield start_it
    for peer in peers:
        peer.stop()


@pytest.fixture
def ca(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "cluster")


def member(ca: Authority, trusts: Authority | None = None) -> MeshTLS:
    identity = ca.issue("any.example")
    return MeshTLS(identity.cert, identity.key, (trusts or ca).file)


def test_machines_of_one_authority_reach_each_other(start: Start, ca: Authority) -> None:
    one, two = start("one", member(ca)), start("two", member(ca))
    assert one.mesh.call("two", "name") == {"worker": "two"}
    assert two.mesh.call("one", "name") == {"worker": "one"}
    for peer in (one, two):
        sock = peer.peers[0].link._stream._sock
        assert isinstance(sock, TLSSocket)
        assert sock.getpeercert(), "the other end has shown no certificate"


def test_on_one_machine_there_is_no_tls(tmp_path: Path, ca: Authority) -> None:
    one, two = (Peer(tmp_path, name, node="here", tls=member(ca)) for name in ("one", "two"))
    assert one.mesh.call("two", "name") == {"worker": "two"}
    assert one.peers[0].link._stream._sock.family == socket.AF_UNIX
    one.stop()
    two.stop()


def test_a_stranger_s_certificate_is_refused_by_either_side(start: Start, tmp_path: Path, ca: Authority) -> None:
    other = Authority(tmp_path, "other")
    start("one", member(ca))
    trusting = start("trusting", member(other, trusts=ca))
    with pytest.raises(WorkerUnreachable):
        trusting.mesh.peer("one")
    start("stranger", member(other))
    with pytest.raises(WorkerUnreachable, match="unknown issuer"):
        trusting.mesh.peer("stranger")
    assert not trusting.peers


@pytest.mark.parametrize("dialler_has_it", [True, False])
def test_one_side_without_tls(start: Start, ca: Authority, dialler_has_it: bool) -> None:
    dialler = start("dialler", member(ca) if dialler_has_it else None)
    listener = start("listener", None if dialler_has_it else member(ca))
    with pytest.raises(WorkerUnreachable):
        dialler.mesh.peer("listener")
    assert not listener.peers


def test_who_shakes_no_hands_is_cut_off(start: Start, ca: Authority, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    one = start("one", member(ca))
    assert one.tcp is not None
    with connect("127.0.0.1", one.tcp.getsockname()[1], 5) as sock:
        assert sock.recv(100) == b""
    assert "no handshake in time" in caplog.text


def test_files_that_cannot_be_used(ca: Authority) -> None:
    identity = ca.issue("x")
    with pytest.raises(UsageError, match=r"the certificate 'nowhere.pem' .* cannot be used"):
        MeshTLS("nowhere.pem", identity.key, ca.file)
    with pytest.raises(UsageError, match=r"the CA file 'nowhere.pem' cannot be used"):
        MeshTLS(identity.cert, identity.key, "nowhere.pem")
