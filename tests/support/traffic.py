"""Bytes that can be told from all others, sent both ways at once and compared as they arrive."""

from __future__ import annotations

import random
import socket
import struct
from dataclasses import dataclass, field

import gevent

from tests.support.waiting import Changes

BLOCK = 64 * 1024
HEADER = struct.Struct(">QQ")


class WrongBytes(AssertionError):
    """Other bytes arrived than were sent, or too few, or too many."""


class Pattern:
    """An endless stream of bytes. Each block begins with the stream's seed and the block's number, so that no block
    equals another of this stream or of any other."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._body = random.Random(seed).randbytes(BLOCK - HEADER.size)

    def block(self, number: int) -> bytes:
        return HEADER.pack(self.seed, number) + self._body

    def blocks(self, size: int) -> list[int]:
        """The numbers of the blocks that hold the first `size` bytes."""
        return list(range(-(-size // BLOCK)))

    def cut(self, offset: int, length: int) -> bytes:
        """The `length` bytes from `offset` on."""
        first, skip = divmod(offset, BLOCK)
        last = (offset + length - 1) // BLOCK
        return b"".join(self.block(number) for number in range(first, last + 1))[skip : skip + length]

    def check(self, offset: int, data: bytes) -> None:
        """Raises WrongBytes unless `data` is what this stream has at `offset`."""
        expected = self.cut(offset, len(data))
        if data != expected:
            bad = next(i for i in range(len(data)) if data[i] != expected[i])
            raise WrongBytes(
                f"stream {self.seed}: byte {offset + bad} is wrong: "
                f"{data[bad : bad + 24].hex()} came, {expected[bad : bad + 24].hex()} was sent"
            )


@dataclass
class Progress:
    """Bytes that have arrived, over many sessions."""

    total: int = 0
    changes: Changes = field(default_factory=Changes)

    def add(self, count: int) -> None:
        self.total += count
        self.changes.happened()

    def wait(self, total: int, within: float) -> None:
        self.changes.wait_until(lambda: self.total >= total, within, f"{total} bytes arrive ({self.total} have)")


def send_pattern(sock: socket.socket, pattern: Pattern, size: int) -> None:
    """Sends the first `size` bytes of `pattern`, then the end of the stream."""
    for number in pattern.blocks(size):
        sock.sendall(pattern.block(number)[: size - number * BLOCK])
    sock.shutdown(socket.SHUT_WR)


def receive_pattern(sock: socket.socket, pattern: Pattern, size: int, progress: Progress | None = None) -> None:
    """Receives the first `size` bytes of `pattern` and the end of the stream, and nothing else."""
    received = 0
    while data := sock.recv(256 * 1024):
        pattern.check(received, data)
        received += len(data)
        if received > size:
            raise WrongBytes(f"stream {pattern.seed}: {received} bytes came, {size} were sent")
        if progress is not None:
            progress.add(len(data))
    if received < size:
        raise WrongBytes(f"stream {pattern.seed}: ended after {received} of {size} bytes")


def both_ways(sock: socket.socket, out: Pattern, back: Pattern, size: int, progress: Progress | None = None) -> None:
    """Sends `out` while it receives `back`, `size` bytes each; raises what either direction raised."""
    sender = gevent.spawn(send_pattern, sock, out, size)
    try:
        receive_pattern(sock, back, size, progress)
    except WrongBytes:
        # A reset is told only once: if the sender has seen it, the receiver sees an end of stream.
        if sender.ready():
            sender.get()
        raise
    else:
        sender.get()
    finally:
        sender.kill()


def there_and_back(seed: int) -> tuple[Pattern, Pattern]:
    return Pattern(2 * seed), Pattern(2 * seed + 1)


def exchange(port: int, seed: int, size: int, progress: Progress | None = None) -> None:
    """The client of `services.Exchange`: `size` bytes each way at the same time, each compared by its receiver."""
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(HEADER.pack(seed, size))
        out, back = there_and_back(seed)
        both_ways(sock, out, back, size, progress)
