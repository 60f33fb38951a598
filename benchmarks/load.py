"""The clients: `python -m benchmarks.load KIND HOST PORT SETTINGS` prints its result as JSON.

They connect to `benchmarks.service` through the chain under test, with one thread and large buffers. Background loads
(`hold`, `stall`, `flood`) print "ready" and end when their standard input ends. `turns` does the same, and performs one
measurement for each line of its input.
"""

from __future__ import annotations

import argparse
import gc
import json
import select
import selectors
import socket
import struct
import sys
from time import perf_counter
from typing import Any

from benchmarks.figures import percentile

BLOCK = memoryview(bytes(1 << 20))
BUFFER = memoryview(bytearray(1 << 20))
READY = "ready"
NO_PROGRESS = 90.0  # seconds without a single event: longer than any session may wait for its link
Address = tuple[str, int]


class Upload:
    """Consecutive requests to the sink on one connection, `size` bytes each."""

    def __init__(self, sock: socket.socket, size: int) -> None:
        self.sock, self.size = sock, size
        self.sock.setblocking(False)
        self.begin()

    def begin(self) -> None:
        """Send the head of a request; its bytes follow as the connection takes them."""
        self.left = self.size
        self.started = perf_counter()
        self.sock.sendall(b"S" + self.size.to_bytes(8, "big"))

    def writable(self) -> bool:
        """Send as many bytes as fit. Return True once all are sent."""
        self.left -= self.sock.send(BLOCK[: self.left])
        return not self.left

    def readable(self) -> float | None:
        """Read the answer. Return the duration of the request in seconds."""
        answer = self.sock.recv(8)
        if int.from_bytes(answer, "big") != self.size:
            raise SystemExit(f"the service counted {answer.hex() or 'nothing'}, not {self.size}")
        return perf_counter() - self.started


class Download(Upload):
    """Consecutive requests to the source on one connection, `size` bytes each."""

    def begin(self) -> None:
        """Send a request; its bytes are read as they come."""
        self.left = self.size
        self.started = perf_counter()
        self.sock.sendall(b"G" + self.size.to_bytes(8, "big"))

    def writable(self) -> bool:
        """Return True: there is nothing more to send."""
        return True

    def readable(self) -> float | None:
        """Read some bytes. Return the duration of the request in seconds once all have arrived, else None."""
        count = self.sock.recv_into(BUFFER[: self.left])
        if not count:
            raise SystemExit(f"the service ended {self.left} bytes early")
        self.left -= count
        return None if self.left else perf_counter() - self.started


def connect(address: Address) -> socket.socket:
    """Return a connection without Nagle's delay, and with a timeout."""
    sock = socket.create_connection(address, timeout=NO_PROGRESS)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def echoing(address: Address) -> socket.socket:
    """A connection to the echo that has carried one byte there and back."""
    sock = connect(address)
    sock.sendall(b"Ex")
    if sock.recv(1) != b"x":
        raise SystemExit("no echo")
    return sock


def upload(
    connections: list[socket.socket], size: int, until: float = 0.0, request: type[Upload] = Upload
) -> list[float]:
    """Transfer `size` bytes over each connection, repeatedly until the time `until`. Return the seconds of each."""
    durations: list[float] = []
    with selectors.DefaultSelector() as selector:
        for sock in connections:
            selector.register(sock, selectors.EVENT_WRITE, request(sock, size))
        while selector.get_map():
            for key, events in _ready(selector):
                if events & selectors.EVENT_WRITE:
                    if key.data.writable():
                        selector.modify(key.fileobj, selectors.EVENT_READ, key.data)
                    continue
                if (seconds := key.data.readable()) is None:
                    continue
                durations.append(seconds)
                if perf_counter() < until:
                    key.data.begin()
                    selector.modify(key.fileobj, selectors.EVENT_WRITE, key.data)
                else:
                    selector.unregister(key.fileobj)
    return durations


def bulk(address: Address, streams: int, seconds: float, first: int, down: bool = False) -> None:
    """Bytes a second over `streams` connections: of the `first` bytes, then for some `seconds`.

    Says "ready" between the two, and keeps the connections after its result: processor time is read meanwhile.
    """
    connections = [connect(address) for _ in range(streams)]
    request = Download if down else Upload
    started = perf_counter()
    upload(connections, first // streams, request=request)
    first_rate = first / (perf_counter() - started)
    size = max(first, int(first_rate * seconds)) // streams
    print(READY, flush=True)
    started = perf_counter()
    upload(connections, size, request=request)
    rate = size * streams / (perf_counter() - started)
    print(json.dumps({"first_rate": first_rate, "rate": rate, "bytes": size * streams}), flush=True)
    sys.stdin.read()


def requests(address: Address, streams: int, seconds: float, size: int) -> dict[str, float]:
    """`streams` connections that each upload `size` bytes, wait for the answer, and again: rate, latency."""
    connections = [connect(address) for _ in range(streams)]
    upload(connections, size)
    started = perf_counter()
    durations = upload(connections, size, started + seconds)
    elapsed = perf_counter() - started
    return {
        "rate": len(durations) * size / elapsed,
        "p50": percentile(durations, 0.5),
        "p99": percentile(durations, 0.99),
    }


def pingpong(address: Address, seconds: float, announce: bool = False) -> dict[str, float]:
    """Echo single bytes. Return p50, p99 and the longest round trip in seconds. Print "ready" if requested."""
    sock = echoing(address)
    if announce:
        print(READY, flush=True)
    gc.disable()
    durations = _pings(sock, perf_counter() + seconds)
    return {"p50": percentile(durations, 0.5), "p99": percentile(durations, 0.99), "longest": max(durations)}


def turns(address: Address, streams: int, size: int, first: int) -> None:
    """Uploads of `size` bytes over `streams` connections, or pings over one more: each line of the input asks for one.

    "upload SECONDS" is answered with `bytes` and `seconds`, "ping SECONDS" with the `durations` of all pings. Says
    "ready" once `first` bytes have warmed up everything.
    """
    connections, echo = [connect(address) for _ in range(streams)], echoing(address)
    upload(connections, first // streams)
    gc.disable()
    print(READY, flush=True)
    for line in sys.stdin:
        kind, seconds = line.split()
        started = perf_counter()
        if kind == "ping":
            answer: dict[str, Any] = {"durations": _pings(echo, started + float(seconds))}
        else:
            sent = size * len(upload(connections, size, started + float(seconds)))
            answer = {"bytes": sent, "seconds": perf_counter() - started}
        print(json.dumps(answer), flush=True)


def connections(address: Address, at_once: int, seconds: float) -> dict[str, float]:
    """Open, use and close connections, `at_once` at a time. Each echoes one byte. Return connections per second."""
    made = 0
    started = perf_counter()
    with selectors.DefaultSelector() as selector:
        for _ in range(at_once):
            _dial(selector, address)
        while selector.get_map():
            for key, events in _ready(selector):
                sock = key.fileobj
                assert isinstance(sock, socket.socket)
                if events & selectors.EVENT_WRITE:
                    sock.send(b"Ex")
                    selector.modify(sock, selectors.EVENT_READ)
                    continue
                if sock.recv(1) != b"x":
                    raise SystemExit("no echo on a new connection")
                made += 1
                selector.unregister(sock)
                sock.close()
                if perf_counter() - started < seconds:
                    _dial(selector, address)
    return {"rate": made / (perf_counter() - started), "made": made}


def hold(address: Address, streams: int) -> None:
    """`streams` connections that have carried a byte, and are then idle."""
    held = [echoing(address) for _ in range(streams)]
    print(READY, flush=True)
    sys.stdin.read()
    for sock in held:
        sock.close()


def stall(address: Address, first: int) -> None:
    """Send `first` bytes at full speed on a connection whose reader then stalls, and continue sending."""
    sock = connect(address)
    upload([sock], first)
    sock.send(b"P")
    sock.setblocking(False)
    print(READY, flush=True)
    while not select.select([sys.stdin], [], [], 0.01)[0]:
        if select.select([], [sock], [], 0)[1]:
            sock.send(BLOCK)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()  # by a reset: what is stuck in the session is not to be waited for


def flood(address: Address, first: int) -> None:
    """A connection that, once warm, uploads without a pause."""
    sock = connect(address)
    upload([sock], first)
    print(READY, flush=True)
    while not select.select([sys.stdin], [], [], 0)[0]:
        upload([sock], 16 << 20)


def _pings(sock: socket.socket, end: float) -> list[float]:
    """Echo single bytes until the time `end`. Return the round trips in seconds."""
    durations: list[float] = []
    while (started := perf_counter()) < end:
        sock.send(b"x")
        if not sock.recv(1):
            raise SystemExit("the echo ended")
        durations.append(perf_counter() - started)
    return durations


def _dial(selector: selectors.BaseSelector, address: Address) -> None:
    sock = socket.socket()
    sock.setblocking(False)
    sock.connect_ex(address)
    selector.register(sock, selectors.EVENT_WRITE)


def _ready(selector: selectors.BaseSelector) -> list[tuple[selectors.SelectorKey, int]]:
    ready = selector.select(NO_PROGRESS)
    if not ready:
        raise SystemExit(f"no progress for {NO_PROGRESS:g} s")
    return ready


LOADS: dict[str, Any] = {
    load.__name__: load for load in (bulk, requests, pingpong, turns, connections, hold, stall, flood)
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load")
    parser.add_argument("kind", choices=LOADS)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("settings", type=json.loads, help="the load's further arguments as a JSON object")
    given = parser.parse_args()
    result = LOADS[given.kind]((given.host, given.port), **given.settings)
    if result is not None:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
