"""The buffered non-blocking write of links and local connections.

Data is written at once, without a greenlet. The part that the kernel does not take waits here; the hub continues when
the kernel takes more.
"""

from __future__ import annotations

from collections.abc import Callable

import gevent

from hubble.transport.stream import SocketStream
from hubble.transport.turn import turn

Data = bytes | bytearray | memoryview
AT_ONCE = 4
"""Pieces written in one turn while the kernel takes them. Then the writer yields."""


class Writer:
    """Writes the data that `more` returns to `stream`, until `more` returns none.

    `sent` gets the number of bytes that the kernel took. `resumed` is called after each write that the hub started.
    `failed` gets the error that ends the writer. None of them may block.
    """

    def __init__(
        self,
        stream: SocketStream,
        more: Callable[[], Data],
        *,
        sent: Callable[[int], None],
        resumed: Callable[[], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self._stream = stream
        self._more = more
        self._sent = sent
        self._resumed = resumed
        self._failed = failed
        self._rest: Data = b""
        self.blocked = False
        """Whether the writer waits for the kernel. `write` then does nothing, because the hub will continue."""

    def write(self) -> None:
        """Write as much as the kernel takes."""
        if self.blocked:
            return
        try:
            for _ in range(AT_ONCE):
                data = self._rest or self._more()
                if not data:
                    return
                taken = self._stream.send_now(data)
                self._rest = b"" if taken == len(data) else memoryview(data)[taken:]
                if taken:
                    self._sent(taken)
                if self._rest:
                    break
            self._wait()
        except OSError as error:
            self._failed(error)
        except Exception as error:  # for example MemoryError: part of a message may be lost
            self._failed(error)
            raise

    def clear(self) -> None:
        """Drop the waiting data and stop for good."""
        self._rest = b""
        self.blocked = True
        self._stream.unwatch_writes()

    def _wait(self) -> None:
        self.blocked = True
        if self._stream.can_watch:
            self._stream.watch_writes(self._on_writable)
        else:
            gevent.spawn(self._send_waiting)

    def _on_writable(self) -> None:
        """Continue when the kernel takes more. Runs in the hub."""
        turn(self._go_on)

    def _go_on(self) -> None:
        self.blocked = False
        self.write()
        if not self.blocked:
            self._stream.unwatch_writes()
        self._resumed()

    def _send_waiting(self) -> None:
        """Write everything in a greenlet, for a stream that cannot be watched."""
        try:
            while data := self._rest or self._more():
                self._rest = b""
                self._stream.sendall(data)
                self._sent(len(data))
                self._resumed()
            self.blocked = False
        except OSError as error:
            self._failed(error)
        except Exception as error:  # as in `write`
            self._failed(error)
            raise
