"""A legitimate session, both ends of it in one process: `python -m tests.hostile.pingpong`.

Prints the port on which its service listens and reads the entry's port. Then it plays a ping-pong of one message from
each `begin` to the next `end` on its input, and prints the round trips' count, longest and p99 (seconds) as JSON.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time

PAYLOAD = b"ping" * 16
PATIENCE = 60.0
PAUSE = 0.0005
"""Seconds between two rounds: the session must not keep a processor busy by itself."""


def open_session() -> tuple[socket.socket, socket.socket]:
    """The session's two ends: the client's and the service's."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        entry = int(sys.stdin.readline())
        client = socket.create_connection(("127.0.0.1", entry), PATIENCE)
        service = listener.accept()[0]
    for sock in (client, service):
        sock.settimeout(PATIENCE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client, service


def pass_over(sender: socket.socket, receiver: socket.socket) -> None:
    """Send the payload from one end to the other."""
    sender.sendall(PAYLOAD)
    got = b""
    while len(got) < len(PAYLOAD):
        more = receiver.recv(len(PAYLOAD) - len(got))
        assert more, "the session has ended"
        got += more
    assert got == PAYLOAD


def play(client: socket.socket, service: socket.socket) -> list[float]:
    """Round trips until there is something to read on the standard input."""
    round_trips: list[float] = []
    while not select.select([sys.stdin], [], [], PAUSE)[0]:
        started = time.monotonic()
        pass_over(client, service)
        pass_over(service, client)
        round_trips.append(time.monotonic() - started)
    return round_trips


def main() -> None:
    """Play whenever told to."""
    client, service = open_session()
    while sys.stdin.readline() == "begin\n":
        times = sorted(play(client, service))
        if sys.stdin.readline() != "end\n":
            return
        p99 = times[int(len(times) * 0.99)] if times else 0.0
        print(json.dumps({"count": len(times), "longest": max(times, default=0.0), "p99": p99}), flush=True)


if __name__ == "__main__":
    main()
