"""Reads the messages of a link: one by one in a greenlet, or all of them in the hub.

Whatever a peer sends, one turn is short: after SLICE seconds other links and timers run.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import gevent
from gevent.event import Event

from hubble.base.slices import others_first
from hubble.transport.framing import Framing
from hubble.transport.stream import SocketStream
from hubble.transport.turn import turn

RECEIVE_SIZE = 512 * 1024
SLICE = 0.0005
"""Seconds that a link handles received frames before other links and timers run."""
FEW = 4
"""Consecutive messages for which the clock is not read: few messages in one read are large and cheap."""
DRAIN_INTERVAL = 0.01
"""Seconds between two reads after a close or a breach of the protocol, while the last frame is delivered."""

# One buffer for all links of a process: no greenlet runs between filling and emptying it.
_buffer = memoryview(bytearray(RECEIVE_SIZE))

Handle = Callable[[bytes], None]


class Reader:
    """Reads `stream` through `framing`. `leftover`: bytes received before.

    `noticed` is called when the framing has news besides messages; `ended` at the end of the stream, with the error if
    that was one. Neither may block.
    """

    def __init__(
        self,
        stream: SocketStream,
        framing: Framing,
        *,
        leftover: bytes,
        clock: Callable[[], float],
        noticed: Callable[[], None],
        ended: Callable[[OSError | None], None],
    ) -> None:
        self.heard_at = clock()
        """The time of the last read, by the clock."""
        self.heard: Event | None = None
        """Set at the next read, if the owner waits for one."""
        self._stream = stream
        self._framing = framing
        self._leftover = leftover
        self._clock = clock
        self._noticed = noticed
        self._ended = ended
        self._messages: deque[bytes] = deque()
        self._slice_end = self.heard_at + SLICE
        self._handle: Handle | None = None
        self._failure: Exception | None = None
        self._paused = 0
        self._goes_on = Event()
        self._stopped = Event()
        self._later: Any = None
        self._waits = False

    @property
    def listens(self) -> bool:
        """Whether the reader would read bytes that arrive now."""
        return self._waits or (self._handle is not None and not self._paused)

    # In a greenlet.

    def receive(self) -> bytes | None:
        """Wait for the next message and return it; None once the reader has stopped."""
        messages = self._messages
        while not messages:
            if self._stopped.is_set():
                return None
            try:
                self._read_waiting()
            except OSError as error:
                self._ended(error)
        message = messages.popleft()
        if len(messages) >= FEW and self._clock() > self._slice_end:
            self._give_way()
        return message

    def _read_waiting(self) -> None:
        framing, is_ready = self._framing, self._stream.is_ready
        if framing.is_over:  # the peer must be able to read the reason, so its bytes are drained, slowly
            gevent.sleep(DRAIN_INTERVAL)
        if (framing.has_rest or is_ready) and self._clock() > self._slice_end:
            self._give_way()
            if self._stopped.is_set():
                return
        if framing.has_rest:
            self._messages.extend(framing.receive_rest())
        elif self._leftover:
            self._take(memoryview(self._leftover))
            self._leftover = b""
        else:
            self._waits = True
            try:
                count = self._stream.recv_into(_buffer)
            finally:
                self._waits = False
            if not count:
                self._ended(None)
                return
            self._take(_buffer[:count])
            if not is_ready:  # it has waited
                self._slice_end = self.heard_at + SLICE
        if framing.has_news:
            self._noticed()

    def _give_way(self) -> None:
        """Yield until everything that is ready now has run."""
        others_first()
        self._slice_end = self._clock() + SLICE

    # In the hub.

    def serve(self, handle: Handle) -> None:
        """Pass each message to `handle`, which must not block, until the reader stops. Raises what `handle` raises.

        Messages received before that are passed on even if the reader is paused or stops before their turn.
        """
        self._handle = handle
        try:
            if self._stream.can_watch:
                if not self._paused:
                    self._stream.watch_reads(self._on_readable)
                self._on_readable()  # messages received before
                self._stopped.wait()
            else:
                self._serve_waiting(handle)
            if self._failure is None:
                self._pass_rest(handle)
        finally:
            self._handle = None
            self._stream.unwatch_reads()
        if self._failure is not None:
            raise self._failure

    def _serve_waiting(self, handle: Handle) -> None:
        while (message := self.receive()) is not None:
            handle(message)
            while self._paused and not self._stopped.is_set():
                self._goes_on.clear()
                self._goes_on.wait()

    def _pass_rest(self, handle: Handle) -> None:
        """Pass on the messages received before the end of the link, such as the resets from an agent that stops."""
        messages, framing = self._messages, self._framing
        while messages or framing.has_rest:
            if messages:
                handle(messages.popleft())
            else:
                messages.extend(framing.receive_rest())
            if self._clock() > self._slice_end:
                self._give_way()

    def pause(self) -> None:
        """Stop reading until `resume` was called as often as `pause`."""
        self._paused += 1
        self._stream.unwatch_reads()

    def resume(self) -> None:
        """Undo one `pause`."""
        self._paused -= 1
        self.heard_at = self._clock()  # the peer was not silent: it was not read
        self._goes_on.set()
        if not self._paused and self._handle is not None and self._stream.can_watch:
            self._go_on_later()

    def stop(self) -> None:
        """Stop reading for good: `serve` and `receive` return."""
        self._stream.unwatch_reads()
        if self._later is not None:
            self._later.close()
        self._stopped.set()
        self._goes_on.set()

    def _on_readable(self) -> None:
        turn(self._work)

    def _work(self) -> None:
        try:
            self._work_on(self._clock() + SLICE)
        except OSError as error:
            self._ended(error)
        except Exception as error:  # raised by `handle`; `serve` raises it again
            self._failure = error
            self.stop()

    def _work_on(self, slice_end: float) -> None:
        framing, messages, handle, count = self._framing, self._messages, self._handle, 0
        has_read = False
        while handle is not None and not self._paused and not self._stopped.is_set():
            while messages:
                handle(messages.popleft())
                count += 1
                if self._paused:
                    return
                if count >= FEW and (messages or framing.has_rest) and self._clock() > slice_end:
                    self._go_on_later()
                    return
            if framing.has_rest:
                messages.extend(framing.receive_rest())
            elif has_read:
                if self._stream.is_ready:
                    self._go_on_later()
                return
            elif not self._read_now():
                return
            else:
                has_read = True
            if framing.has_news:
                self._noticed()
            if framing.is_over and not messages:
                self._go_on_later(DRAIN_INTERVAL)
                return
            if framing.has_rest and not messages and self._clock() > slice_end:  # fragments or control frames
                self._go_on_later()
                return

    def _read_now(self) -> bool:
        """Read once without waiting; return whether anything arrived."""
        if self._leftover:
            leftover, self._leftover = self._leftover, b""
            self._take(memoryview(leftover))
            return True
        count = self._stream.read_now(_buffer)
        if not count:
            if count == 0:
                self._ended(None)
            return False
        self._take(_buffer[:count])
        return True

    def _take(self, data: memoryview) -> None:
        self.heard_at = self._clock()
        if self.heard is not None:
            self.heard.set()
        self._messages.extend(self._framing.receive(data))

    def _go_on_later(self, seconds: float | None = None) -> None:
        """Continue after everything that is ready now has run, or after some seconds."""
        self._stream.unwatch_reads()
        if self._later is not None:
            self._later.close()
        loop = gevent.get_hub().loop
        if seconds is None:
            self._later = loop.idle()
            self._later.priority = 1  # with the default it would wait until no other link is readable
        else:
            self._later = loop.timer(seconds)
        self._later.start(self._go_on)

    def _go_on(self) -> None:
        self._later.close()
        self._later = None
        if self._handle is not None and not self._paused and not self._stopped.is_set():
            self._stream.watch_reads(self._on_readable)
            turn(self._work)
