"""A TCP relay between an agent and its proxy: `python -m benchmarks.relay HOST PORT`. It prints its own port.

SIGUSR1 cuts every connection; new connections are accepted immediately. With `--delay S` every byte is delayed by S
seconds in each direction, at most at `--rate` bytes per second: a long path for machines that do not permit
`benchmarks.slowpath`. TCP itself has no delay here, so the delay affects only layers above TCP.
"""

from __future__ import annotations

import argparse
import queue
import signal
import socket
import threading
from contextlib import suppress
from time import monotonic, sleep

CHUNK = 65536
Parcel = tuple[float, bytes]  # when it is to arrive, and what; no bytes: the end


class Relay:
    """Forwards a listener's connections to one fixed address."""

    def __init__(self, onward: tuple[str, int], delay: float, rate: float) -> None:
        self.onward, self.delay, self.rate = onward, delay, rate
        self.open: set[socket.socket] = set()

    def serve(self, listener: socket.socket) -> None:
        """Forward connections forever. A connection is closed if the address refuses."""
        while True:
            near, _ = listener.accept()
            try:
                far = socket.create_connection(self.onward)
            except OSError:
                near.close()
                continue
            for sock in (near, far):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.open |= {near, far}
            self._carry(near, far)
            self._carry(far, near)

    def cut(self) -> None:
        """Close every forwarded connection."""
        while self.open:
            with suppress(OSError):
                self.open.pop().shutdown(socket.SHUT_RDWR)

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        parcels: queue.SimpleQueue[Parcel] = queue.SimpleQueue()
        threading.Thread(target=self._take_in, args=(source, parcels), daemon=True).start()
        threading.Thread(target=self._hand_out, args=(sink, parcels), daemon=True).start()

    def _take_in(self, source: socket.socket, parcels: queue.SimpleQueue[Parcel]) -> None:
        free = 0.0
        data = b"-"
        while data:
            try:
                data = source.recv(CHUNK)
            except OSError:
                data = b""
            free = max(free, monotonic()) + len(data) / self.rate
            parcels.put((free + self.delay, data))
            sleep(max(0.0, free - monotonic()))

    def _hand_out(self, sink: socket.socket, parcels: queue.SimpleQueue[Parcel]) -> None:
        with suppress(OSError):
            while True:
                due, data = parcels.get()
                sleep(max(0.0, due - monotonic()))
                if not data:
                    return sink.shutdown(socket.SHUT_WR)
                sink.sendall(data)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.relay")
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds, in each direction")
    parser.add_argument("--rate", type=float, default=float("inf"), help="bytes per second, in each direction")
    given = parser.parse_args()
    relay = Relay((given.host, given.port), given.delay, given.rate)
    signal.signal(signal.SIGUSR1, lambda *_: relay.cut())
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    relay.serve(listener)


if __name__ == "__main__":
    main()
