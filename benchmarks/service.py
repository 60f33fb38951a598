"""The service at the end of every path: `python -m benchmarks.service` prints its port and serves.

A connection begins with one byte that selects its service:

    E      echo: return all further bytes
    S n    sink: read n (8 bytes, big-endian) and n bytes, then return n; another request may follow.
           A lost or duplicated byte breaks the framing of later requests, so each answer proves the count.
    G n    source: send n (8 bytes, big-endian) bytes in blocks of 1 MiB; another request may follow
    P      pause: stop reading and keep the connection open

To use little processor time, the service has one thread, large buffers, and blocking sockets read only when ready.
"""

from __future__ import annotations

import selectors
import socket
import sys

BUFFER = memoryview(bytearray(1 << 20))
COUNT_SIZE = 8


class Connection:
    """The state of one connection: reading the head of a request, discarding bytes, or echoing."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.head = b""
        self.size = 0
        self.left = 0
        self.echoes = False
        self.owed = 0

    def readable(self) -> bool:
        """Read once. Return False if this connection must not be read again."""
        if self.left:
            return self._sink()
        if self.echoes:
            return self._echo(self.sock.recv(65536))
        data = self.sock.recv(1 + COUNT_SIZE - len(self.head))
        self.head += data
        return bool(data) and self._begin()

    def _begin(self) -> bool:
        kind, rest = self.head[:1], self.head[1:]
        if kind == b"E":
            self.echoes = True
            return not rest or self._echo(rest)
        if kind in (b"S", b"G") and len(rest) == COUNT_SIZE:
            self.size = int.from_bytes(rest, "big")
            self.left, self.owed = (self.size, 0) if kind == b"S" else (0, self.size)
            self.head = b""
            self.sock.setblocking(kind == b"S")
        return kind in (b"S", b"G")

    def writable(self) -> bool:
        """Send as many pending bytes as fit. Return True once all are sent."""
        self.owed -= self.sock.send(BUFFER[: self.owed])
        return not self.owed

    def _echo(self, data: bytes) -> bool:
        self.sock.sendall(data)
        return bool(data)

    def _sink(self) -> bool:
        count = self.sock.recv_into(BUFFER[: self.left])
        self.left -= count
        if not self.left:
            self.sock.sendall(self.size.to_bytes(COUNT_SIZE, "big"))
        return count > 0


def serve(listener: socket.socket) -> None:
    """Accept and serve connections forever."""
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.data is None:
                sock, _ = listener.accept()
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                selector.register(sock, selectors.EVENT_READ, Connection(sock))
            elif not _goes_on(key.data):
                selector.unregister(key.fileobj)
            elif bool(key.data.owed) is (key.events == selectors.EVENT_READ):
                events = selectors.EVENT_WRITE if key.data.owed else selectors.EVENT_READ
                selector.modify(key.fileobj, events, key.data)


def _goes_on(connection: Connection) -> bool:
    try:
        goes_on = connection.writable() or True if connection.owed else connection.readable()
    except OSError:  # a client that was killed: the next one comes all the same
        goes_on = False
    if not goes_on and connection.head != b"P":
        connection.sock.close()
    return goes_on


if __name__ == "__main__":
    listening = socket.create_server(("0.0.0.0" if "--any" in sys.argv else "127.0.0.1", 0), backlog=1024)
    print(listening.getsockname()[1], flush=True)
    serve(listening)
