"""Doubles of the original program: its proxy and its agent, as far as they can be told by what they say.

They share no code with Hubble but the dialling, so that a mistake in the codec does not cancel itself out. What they
say is compared with recordings of the original in `test_legacy.py`. Its faults are left out.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple, cast

import gevent
import msgpack
from gevent import socket
from gevent.event import AsyncResult
from gevent.lock import RLock
from gevent.server import StreamServer
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import CLIENT, OPEN, SERVER, Protocol
from websockets.server import ServerProtocol

from hubble.transport.addresses import Socket
from hubble.transport.dial.dial import DialOptions, open_websocket, parse_url

HANDSHAKE, INITIATOR, DATA, TERMINATOR, CONNECTION_CLOSED, ACK = 1, 2, 3, 4, 5, 255
KEYS = ("Version", "Name", "Key", "GUID", "RemoteHost", "RemotePort", "Gatename", "Order", "Data", "Ok", "Message")
FRAGMENT = 1024
"""Its proxy sends longer messages in two fragments, the first so long."""
CHUNK = 1024
"""What its agents send at a time."""
PATIENCE = 20.0


class Said(NamedTuple):
    """One message: its type, and the fields that the original knows."""

    kind: int
    fields: dict[str, Any]


def pack(kind: int, fields: dict[str, Any]) -> bytes:
    return bytes([kind]) + cast(bytes, msgpack.packb(dict(sorted(fields.items())), use_bin_type=False))


def unpack(data: bytes) -> Said:
    raw = msgpack.unpackb(data[1:], raw=True)
    fields = {key: raw[key.encode()] for key in KEYS if key.encode() in raw}
    return Said(data[0], {key: value if key == "Data" else _text(value) for key, value in fields.items()})


def keys(data: bytes) -> set[str]:
    """All that a message says, whether the original knows it or not."""
    return {key.decode() for key in msgpack.unpackb(data[1:], raw=True)}


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


class Wire:
    """One WebSocket. Only one greenlet reads; everybody may send."""

    def __init__(self, sock: Socket, protocol: Protocol, leftover: bytes = b"") -> None:
        self._sock = sock
        self._protocol = protocol
        self._sending = RLock()
        self._parts: list[bytes] = []
        self._leftover = leftover
        self.heard: list[bytes] = []

    def send(self, kind: int, **fields: Any) -> None:
        data = pack(kind, fields)
        with self._sending:
            if self._protocol.side is SERVER and len(data) > FRAGMENT:
                self._protocol.send_binary(data[:FRAGMENT], fin=False)
                self._protocol.send_continuation(data[FRAGMENT:], fin=True)
            else:
                self._protocol.send_binary(data)
            self._flush()

    def messages(self) -> Any:
        """What comes, until the connection ends."""
        try:
            data = self._leftover or self._sock.recv(65536)
            while data:
                self._protocol.receive_data(data)
                self._flush()  # pongs
                for frame in cast("list[Frame]", self._protocol.events_received()):
                    if frame.opcode in (Opcode.BINARY, Opcode.CONT):
                        self._parts.append(bytes(frame.data))
                        if frame.fin:
                            self.heard.append(b"".join(self._parts))
                            self._parts.clear()
                            yield unpack(self.heard[-1])
                data = self._sock.recv(65536)
        except OSError:
            return

    def close(self) -> None:
        self._sock.close()

    def _flush(self) -> None:
        with self._sending:
            for data in self._protocol.data_to_send():
                if data:
                    self._sock.sendall(data)


class LegacyProxy:
    """Grants everything."""

    def __init__(self) -> None:
        self.agents: dict[str, Wire] = {}
        self.sessions: dict[str, tuple[Wire, Wire]] = {}
        self.tamper: Callable[[Said], bool] = lambda said: True
        """Whether a Data is passed on: for tests that want one to be missing."""
        self._server = StreamServer(("127.0.0.1", 0), self._serve)
        self._server.start()
        self.url = f"ws://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.stop(timeout=0)
        for wire in list(self.agents.values()):
            wire.close()

    def terminate(self) -> None:
        """Terminator for every session, to both sides."""
        for guid in list(self.sessions):
            self._terminate(guid)

    def _serve(self, sock: Socket, address: object) -> None:
        wire = Wire(sock, Protocol(SERVER, state=OPEN, max_size=None), _upgrade(sock))
        name = ""
        try:
            for said in wire.messages():
                if said.kind == HANDSHAKE:
                    name = self._register(wire, said.fields)
                else:
                    self._pass_on(wire, said)
        finally:
            self._lost(wire, name)

    def _register(self, wire: Wire, fields: dict[str, Any]) -> str:
        if fields["Version"] != "0.1":
            wire.send(ACK, GUID="", Ok=False, Message="Invalid protocol version")
            return ""
        self.agents[fields["Name"]] = wire
        wire.send(ACK, GUID="", Ok=True, Message="<nil>")
        return cast(str, fields["Name"])

    def _pass_on(self, wire: Wire, said: Said) -> None:
        guid = said.fields["GUID"]
        if said.kind == INITIATOR:
            exit_wire = self.agents.get(said.fields["Gatename"])
            if exit_wire is None:
                wire.send(ACK, GUID=guid, Ok=False, Message="Gateway not registered")
                return
            self.sessions[guid] = (wire, exit_wire)
            keys = ("GUID", "Gatename", "Key", "RemoteHost", "RemotePort")
            exit_wire.send(INITIATOR, **{key: said.fields[key] for key in keys})
        elif guid in self.sessions and said.kind == ACK:
            self.sessions[guid][0].send(ACK, **{key: said.fields[key] for key in ("GUID", "Message", "Ok")})
        elif guid in self.sessions and said.kind == DATA and self.tamper(said):
            entry, exit_wire = self.sessions[guid]
            other = exit_wire if wire is entry else entry
            other.send(DATA, **{key: said.fields[key] for key in ("Data", "GUID", "Order")})
        elif guid in self.sessions and said.kind == CONNECTION_CLOSED:
            self._terminate(guid)

    def _terminate(self, guid: str) -> None:
        for wire in self.sessions.pop(guid):
            wire.send(TERMINATOR, GUID=guid)

    def _lost(self, wire: Wire, name: str) -> None:
        if self.agents.get(name) is wire:
            del self.agents[name]
        for guid, (entry, exit_wire) in list(self.sessions.items()):
            if wire in (entry, exit_wire):
                del self.sessions[guid]
                other = exit_wire if wire is entry else entry
                with suppress(OSError):
                    other.send(TERMINATOR, GUID=guid)


class LegacyAgent:
    """Registered when it is there."""

    def __init__(self, url: str, name: str, key: str = "") -> None:
        upgraded = open_websocket(parse_url(url), DialOptions(proxy="none"))
        self.wire = Wire(upgraded.socket, Protocol(CLIENT, state=OPEN, max_size=None), upgraded.leftover)
        self._registered: AsyncResult[bool] = AsyncResult()
        self._acks: dict[str, AsyncResult[bool]] = {}
        self._sockets: dict[str, Socket] = {}
        self._received: dict[str, int] = {}
        self._servers: list[StreamServer] = []
        self._reader = gevent.spawn(self._read)
        self.wire.send(HANDSHAKE, Version="0.1", Name=name, Key=key)
        assert self._registered.get(timeout=PATIENCE)

    def forward(self, gateway: str, port: int, key: str = "") -> int:
        """A local port whose connections are carried to `port` near the gateway."""
        server = StreamServer(("127.0.0.1", 0), lambda sock, _: self._open(sock, gateway, port, key))
        server.start()
        self._servers.append(server)
        return cast(int, server.server_port)

    def close(self) -> None:
        for server in self._servers:
            server.stop(timeout=0)
        self.wire.close()
        for guid in list(self._sockets):
            self._drop(guid)
        self._reader.kill()

    # Entry.

    def _open(self, sock: Socket, gateway: str, port: int, key: str) -> None:
        guid = str(uuid.uuid4())
        self._acks[guid] = AsyncResult()
        self._sockets[guid] = sock
        self.wire.send(INITIATOR, GUID=guid, RemoteHost="127.0.0.1", RemotePort=port, Gatename=gateway, Key=key)
        if self._acks[guid].get(timeout=PATIENCE):
            self._pump(guid, sock)
        else:
            self._drop(guid)

    # Exit.

    def _dial(self, guid: str, host: str, port: int) -> None:
        try:
            sock = socket.create_connection((host, port), timeout=PATIENCE)
        except OSError as error:
            self.wire.send(ACK, GUID=guid, Ok=False, Message=str(error))
            return
        sock.settimeout(None)
        self._sockets[guid] = sock
        self.wire.send(ACK, GUID=guid, Ok=True, Message="<nil>")
        self._pump(guid, sock)

    # Both.

    def _pump(self, guid: str, sock: Socket) -> None:
        order = 0
        try:
            while data := sock.recv(CHUNK):
                order += 1
                self.wire.send(DATA, GUID=guid, Order=order, Data=data)
        except OSError:
            pass
        with suppress(OSError):  # the link has ended before
            if guid in self._sockets:
                self.wire.send(DATA, GUID=guid, Order=order + 1, Data=b"")
            self.wire.send(CONNECTION_CLOSED, GUID=guid)

    def _read(self) -> None:
        for said in self.wire.messages():
            guid = said.fields["GUID"]
            if said.kind == ACK and guid == "":
                self._registered.set(said.fields["Ok"])
            elif said.kind == ACK and guid in self._acks:
                self._acks[guid].set(said.fields["Ok"])
            elif said.kind == INITIATOR:
                gevent.spawn(self._dial, guid, said.fields["RemoteHost"], said.fields["RemotePort"])
            elif said.kind == DATA and guid in self._sockets:
                self._take(guid, said.fields["Order"], said.fields["Data"])
            elif said.kind == TERMINATOR:
                self._drop(guid)

    def _take(self, guid: str, order: int, data: bytes) -> None:
        if order != self._received.get(guid, 0) + 1:
            self._drop(guid)
            return
        self._received[guid] = order
        try:
            self._sockets[guid].sendall(data)
        except OSError:
            self._drop(guid)

    def _drop(self, guid: str) -> None:
        sock = self._sockets.pop(guid, None)
        if sock is not None:
            sock.close()


def _upgrade(sock: Socket) -> bytes:
    """Answers the WebSocket handshake; what has come behind it."""
    request = b""
    while b"\r\n\r\n" not in request:
        data = sock.recv(65536)
        if not data:
            return b""
        request += data
    head, blank, behind = request.partition(b"\r\n\r\n")
    protocol = ServerProtocol()
    protocol.receive_data(head + blank)
    (asked,) = protocol.events_received()
    protocol.send_response(protocol.accept(cast(Request, asked)))
    sock.sendall(b"".join(protocol.data_to_send()))
    return behind
