"""What targets read from: a socket that holds all that the other side will ever send, and numbers from bytes."""

from __future__ import annotations

from typing import cast

from hubble.transport.addresses import Socket


class Sent:
    """A socket whose other side has sent `data`, which arrives in pieces of at most `piece` bytes, and has gone."""

    def __init__(self, data: bytes, piece: int = 1 << 16, *, reset: bool = False) -> None:
        self._data = data
        self._piece = max(1, piece)
        self._reset = reset

    def recv(self, size: int) -> bytes:
        """Receive the next bytes; b"" at the end, or ConnectionResetError."""
        taken = self._data[: min(size, self._piece)]
        self._data = self._data[len(taken) :]
        if not taken and self._reset:
            raise ConnectionResetError(104, "Connection reset by peer")
        return taken

    def sendall(self, data: bytes) -> None:
        """Ignore what this side says."""

    def as_socket(self) -> Socket:
        """Return this where a socket is wanted."""
        return cast(Socket, self)


class Numbers:
    """Reads decisions off the fuzzer's bytes; all are 0 once those are used up."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def __bool__(self) -> bool:
        return self._position < len(self._data)

    def take(self, size: int = 1) -> int:
        """Return the next big-endian number of `size` bytes."""
        taken = self._data[self._position : self._position + size]
        self._position += size
        return int.from_bytes(taken, "big")
