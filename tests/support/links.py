"""Both ends of a link as tests see them: an owner that reads messages, and a peer that sends any bytes at all."""

from __future__ import annotations

from typing import cast

import gevent
from websockets.frames import Frame, Opcode
from websockets.protocol import CLIENT, OPEN, SERVER, Protocol, Side

from hubble.base.errors import LinkClosed
from hubble.transport.addresses import Socket
from hubble.transport.link import Link
from tests.support.pairs import PATIENCE
from tests.support.waiting import Changes


class Owner:
    """Reads a link: keeps its messages, and why it ended."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.received: list[bytes] = []
        self.size = 0
        self._changes = Changes()
        self._reader = gevent.spawn(self._read)

    def wait_received(self, count: int, within: float = PATIENCE) -> list[bytes]:
        """The messages received, as soon as there are `count`."""
        what = f"{count} messages arrive"
        self._changes.wait_until(lambda: len(self.received) >= count or self._reader.ready(), within, what)
        assert len(self.received) >= count, f"the link ended after {len(self.received)} messages: {self.link.why}"
        return self.received

    def wait_end(self, within: float = PATIENCE) -> str:
        """Why the link has ended, as soon as its reader has been told."""
        return str(self._reader.get(timeout=within))

    def _read(self) -> str:
        try:
            for message in self.link.messages():
                self.received.append(message)
                self.size += len(message)
                self._changes.happened()
        except LinkClosed as error:
            return str(error)
        finally:
            self._changes.happened()
        raise AssertionError("the messages ended without LinkClosed")


class Peer:
    """The other end of a link, frame by frame; it reads nothing unless asked."""

    def __init__(self, sock: Socket, side: Side, leftover: bytes = b"") -> None:
        self.sock = sock
        self.masked = side is CLIENT
        self.pings = 0
        self._protocol = Protocol(side, state=OPEN, max_size=None)
        self._protocol.send_frame = lambda frame: None  # type: ignore[method-assign]  # it answers nothing by itself
        self._frames: list[Frame] = []
        self._take(leftover)

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def next_frame(self, within: float = PATIENCE) -> Frame | None:
        """The next frame, None at the end of the stream."""
        with gevent.Timeout(within, TimeoutError("no frame came")):
            while not self._frames:
                data = self.sock.recv(1 << 18)
                if not data:
                    return None
                self._take(data)
        return self._frames.pop(0)

    def next(self, within: float = PATIENCE) -> Frame | None:
        """The next frame that is no ping of the link's own."""
        while (frame := self.next_frame(within)) is not None and frame.opcode is Opcode.PING:
            self.pings += 1
        return frame

    def message(self) -> bytes:
        frame = self.next()
        assert frame is not None and (frame.opcode, frame.fin) == (Opcode.BINARY, True), f"not a message: {frame}"
        return bytes(frame.data)

    def close_received(self) -> tuple[int, str]:
        """Code and reason of the Close that comes, behind whatever comes before it."""
        while (frame := self.next()) is not None:
            if frame.opcode is Opcode.CLOSE:
                return int.from_bytes(frame.data[:2], "big"), bytes(frame.data[2:]).decode()
        raise AssertionError("the stream ended without a Close")

    def _take(self, data: bytes) -> None:
        if data:
            self._protocol.receive_data(data)
            self._frames += cast("list[Frame]", self._protocol.events_received())


def client_and_server(client: Socket, server: Socket) -> tuple[Owner, Owner]:
    """A link, both ends of it real."""
    return Owner(Link(client, CLIENT)), Owner(Link(server, SERVER))
