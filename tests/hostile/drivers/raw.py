"""A WebSocket client that sends any bytes at all, over a blocking socket."""

from __future__ import annotations

import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import cast

from websockets.frames import Frame, Opcode
from websockets.protocol import CLIENT, OPEN, Protocol

from hubble.protocol.codec import decode, encode
from hubble.protocol.messages import RESUMABLE, Ack, Handshake, Message
from tests.support.frames import binary

PATIENCE = 10.0
REQUEST = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def connect(port: int, *, tls: bool = False) -> socket.socket:
    """A connection to the proxy; its certificate is not verified."""
    sock = socket.create_connection(("127.0.0.1", port), PATIENCE)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if not tls:
        return sock
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(sock)


class RawLink:
    """An upgraded connection. Raises OSError once the proxy has closed it."""

    def __init__(self, port: int, *, tls: bool = False) -> None:
        self.sock = connect(port, tls=tls)
        self._protocol = Protocol(CLIENT, state=OPEN, max_size=None)
        self.sock.sendall(REQUEST)
        head = b""
        while b"\r\n\r\n" not in head:
            head += self._recv()
        status, _, rest = head.partition(b"\r\n\r\n")
        if not status.startswith(b"HTTP/1.1 101 "):
            raise ConnectionError(f"the upgrade was refused: {status[:100]!r}")
        self._rest = rest

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.sock.sendall(data)

    def say(self, message: Message | bytes) -> None:
        """Send one message, in a whole binary frame."""
        self.send(binary(message if isinstance(message, bytes) else encode(message), masked=True))

    def register(self, name: str, key: str = "") -> Ack:
        """Register as a gateway: the proxy's answer."""
        self.say(Handshake(name, key, features=frozenset({RESUMABLE}), instance=name.encode().ljust(16)[:16], epoch=1))
        return cast(Ack, self.hear())

    def hear(self) -> Message:
        """The next message."""
        for frame in self.frames():
            if frame.opcode is Opcode.BINARY:
                return decode(bytes(frame.data))
        raise ConnectionError("the link ended")

    def frames(self) -> Iterator[Frame]:
        """The frames that arrive, pings among them, until the end of the stream."""
        while True:
            yield from cast("list[Frame]", self._protocol.events_received())
            data, self._rest = self._rest or self.sock.recv(1 << 16), b""
            if not data:
                return
            self._protocol.receive_data(data)

    def close_code(self) -> int:
        """The code of the Close that ends the link; 0 if it ends without one."""
        with suppress(OSError):
            for frame in self.frames():
                if frame.opcode is Opcode.CLOSE:
                    return int.from_bytes(frame.data[:2], "big")
        return 0

    def close(self) -> None:
        """Close the connection."""
        self.sock.close()

    def _recv(self) -> bytes:
        data = self.sock.recv(1 << 16)
        if not data:
            raise ConnectionError("the connection was closed")
        return data


def again_and_again(
    port: int, seconds: float, attack: Callable[[RawLink, float], None], *, tls: bool = False, at_most: int = 1000
) -> dict[str, int]:
    """Open a link and run `attack(link, until)`, anew whenever the link is gone; how many links, and how they ended."""
    until, counts = time.monotonic() + seconds, Counter[str]()
    while time.monotonic() < until and counts["links"] < at_most:
        counts["links"] += 1
        try:
            link = RawLink(port, tls=tls)
        except OSError:
            counts["refused"] += 1
            continue
        try:
            attack(link, until)
            counts["survived"] += 1
        except OSError:
            counts[f"closed with {link.close_code()}"] += 1
        finally:
            link.close()
    return dict(counts)
