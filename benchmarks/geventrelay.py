"""A plain gevent relay: `python -m benchmarks.geventrelay HOST PORT` prints its port and serves.

Three of them in a row are the reference, which depends on the machine and its Python in the same way as Hubble: a
StreamServer, `recv(65536)` and `sendall`, without any protocol.
"""

from __future__ import annotations

import sys

import gevent
from gevent import socket
from gevent.server import StreamServer

SIZE = 65536


def pump(source: socket.socket, target: socket.socket) -> None:
    """Copy one direction until its end of stream."""
    try:
        while data := source.recv(SIZE):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        source.close()
        target.close()


def relay(address: tuple[str, int], client: socket.socket) -> None:
    """Serve one connection."""
    with client, socket.create_connection(address) as upstream:
        for sock in (client, upstream):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        back = gevent.spawn(pump, upstream, client)
        pump(client, upstream)
        back.join()


def main() -> None:
    address = (sys.argv[1], int(sys.argv[2]))
    server = StreamServer(("127.0.0.1", 0), lambda client, _: relay(address, client), backlog=1024)
    server.start()
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
