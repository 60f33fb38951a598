"""A proxy that floods its agents does not keep them from anything else."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from websockets.frames import Opcode
from websockets.http11 import Request
from websockets.protocol import CONNECTING
from websockets.server import ServerProtocol

from hubble.protocol.codec import encode
from hubble.protocol.messages import RESUMABLE, Ack, Credit
from hubble.transport.addresses import Socket
from tests.support.frames import PONG, RawFrame, binary
from tests.support.stage import Stage
from tests.support.wsserver import scripted_server

PIECE = 256 * 1024
FLOODS = {
    "credits": binary(encode(Credit(uuid.uuid4().bytes, False, 0, 1)), masked=False),
    "pongs": bytes(RawFrame(PONG, masked=False)),
}


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    try:
        yield stage
    finally:
        stage.kill()
        stage.end()


def flood(sock: Socket, frame: bytes) -> None:
    """Upgrade an agent, accept its registration, and send it the same frame for ever."""
    protocol = ServerProtocol()
    while protocol.state is CONNECTING:
        protocol.receive_data(sock.recv(65536))
        for request in protocol.events_received():
            assert isinstance(request, Request)
            protocol.send_response(protocol.accept(request))
    sock.sendall(b"".join(protocol.data_to_send()))
    while not any(getattr(frame, "opcode", None) is Opcode.BINARY for frame in protocol.events_received()):
        protocol.receive_data(sock.recv(65536))
    sock.sendall(binary(encode(Ack(b"", True, features=frozenset({RESUMABLE}))), masked=False))
    piece = frame * (PIECE // len(frame))
    while True:
        sock.sendall(piece)


@pytest.mark.parametrize("kind", FLOODS)
def test_an_agent_ends_when_it_is_told_to(stage: Stage, kind: str) -> None:
    def handle(sock: Socket) -> None:
        with suppress(OSError):  # the agent has closed the link
            flood(sock, FLOODS[kind])

    with scripted_server(handle) as port:
        agent = stage.agent(f"ws://127.0.0.1:{port}", "victim")
        if kind == "pongs":
            agent.log.wait_for("too many control frames")
        started = time.monotonic()
        assert agent.stop(within=10) == 0
        assert time.monotonic() - started < 2.0
