"""A link: whole messages in and out over one WebSocket.

Messages to send are put into a fair queue, which is written out at the end of the turn (hubble/transport/turn.py). The
owner's greenlet receives the first messages one by one, and then has the hub read, and hand each message to it. A link
that has been silent for too long is dead.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable, Iterator
from typing import Any, NoReturn

import gevent
from gevent.event import Event
from websockets.frames import Frame, Opcode
from websockets.protocol import Side

from hubble.base.errors import LinkClosed
from hubble.protocol.fairqueue import Caps, FairQueue, Lane, LaneFull, QueueFull, Total
from hubble.protocol.pace import Pace
from hubble.transport.addresses import Socket
from hubble.transport.framing import Framing
from hubble.transport.linkoptions import Keepalive as Keepalive
from hubble.transport.linkoptions import keep_queue_short, limit_silence
from hubble.transport.reader import Handle, Reader
from hubble.transport.stream import open_stream
from hubble.transport.turn import at_end
from hubble.transport.writer import Writer

BATCH_SIZE = 256 * 1024
"""Bytes in one write, and unsent in the kernel, on a fast path. On a slow path it is what the path takes in 50 ms."""
FIRST_BATCH = 128 * 1024
FIRST_PINGS = 8
"""Consecutive pings on a new link. The fastest measures the path."""
CLOSE_TIMEOUT = 1.0
FIRST_MESSAGE = 16 * 1024
"""Bytes of the first message of an unregistered peer: a Handshake with a long key, or its answer."""

queued_in_process = Total()
"""Bytes queued on all links of the process. The owner of the process sets the cap."""


class Link:
    """A link over a connected stream socket that has been upgraded to a WebSocket already.

    `leftover` are bytes that came behind the upgrade. `masked`: whether the client's side masks its messages, as
    RFC 6455 wants it where strange HTTP proxies may be on the way; both sides must say the same. `first_limit`: bytes
    that the other side's first message may have, None for as many as any; fewer frames may come before it then as well.
    `on_drained`, which the owner may set, is called with each lane that was full and has room again; it must not block.
    """

    def __init__(
        self,
        sock: Socket,
        side: Side,
        *,
        leftover: bytes = b"",
        masked: bool = True,
        first_limit: int | None = None,
        keepalive: Keepalive | None = None,
        caps: Caps | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.why = ""
        """The reason for the end of the link, or ""."""
        self.round_trip: float | None = None
        """Seconds of the fastest ping, or None before the first pong."""
        self.closed = False
        """Whether the link has ended."""
        self.on_drained: Callable[[Lane], None] = lambda lane: None
        self._stream = open_stream(sock)
        self._framing = Framing(side, masked, first_limit=first_limit, clock=clock)
        self._side = side
        self._keepalive = keepalive or Keepalive()
        self._clock = clock
        self._queue = FairQueue(caps=caps, total=queued_in_process)
        self._pace = Pace(FIRST_BATCH)
        self._reader = Reader(
            self._stream, self._framing, leftover=leftover, clock=clock, noticed=self._noticed, ended=self._lost
        )
        self._writer = Writer(
            self._stream, self._next_data, sent=self._pace.moved, resumed=self._resumed, failed=self._lost
        )
        self._scheduled = False
        self._ended, self._heard = Event(), Event()
        self._probing = 0
        self._closing: tuple[int, str] | None = None
        self._said_goodbye = False
        keep_queue_short(sock, BATCH_SIZE)
        limit_silence(sock, self._keepalive.silence)
        self._start_pinging()

    def __repr__(self) -> str:
        return f"<Link {self._side.name.lower()} {'closed' if self.closed else 'open'}>"

    def send(self, message: bytes, lane: Lane | None = None) -> bool:
        """Queue a message, in order behind those of its lane; without a lane it overtakes all lanes.

        Never blocks. On a closed link the message is dropped: the reader tells the owner. False if so much waits in the
        lane that the message was dropped: the owner must end what the lane belongs to. A queue that is too long closes
        the link with 1008.
        """
        if not self.closed and self._closing is None:
            try:
                self._queue.put(message, lane)
            except LaneFull:
                return False
            except QueueFull as error:
                self._give_up_on_reader(str(error))
            self._schedule()
        return True

    def send_latest(self, message: bytes, key: Hashable) -> None:
        """Queue a message that overtakes all lanes. It replaces a waiting message with the same key."""
        if not self.closed and self._closing is None:
            try:
                self._queue.put_latest(message, key)
            except QueueFull as error:
                self._give_up_on_reader(str(error))
            self._schedule()

    def _give_up_on_reader(self, why: str) -> None:
        """Drop everything queued for a peer that does not read, and close."""
        self._queue.clear()
        self.close(1008, why)

    def is_full(self, lane: Lane) -> bool:
        """Return whether a lane has enough queued for now. If so, `on_drained` is called when it has room again."""
        return self._queue.is_full(lane)

    def queued(self, lane: Lane) -> int:
        """Return the number of bytes queued in a lane."""
        return self._queue.size(lane)

    @property
    def queued_bytes(self) -> int:
        """The number of bytes queued in all lanes."""
        return self._queue.waiting_bytes

    def discard(self, lane: Lane) -> None:
        """Drop the messages queued in a lane."""
        self._queue.discard(lane)
        self._schedule()

    def receive(self) -> bytes:
        """Wait for the next message and return it. Raises LinkClosed once the link has ended."""
        message = self._reader.receive()
        if message is None:
            raise LinkClosed(self.why)
        return message

    def messages(self) -> Iterator[bytes]:
        """Yield each message that arrives. Raises LinkClosed at the end of the link."""
        while True:
            yield self.receive()

    def serve(self, handle: Handle) -> NoReturn:
        """Have the hub pass each message to `handle`, which must not block, until the link ends.

        Raises LinkClosed at the end of the link, or the exception of `handle`, after which the link is no longer read.
        """
        self._reader.serve(handle)
        raise LinkClosed(self.why)

    def pause(self) -> None:
        """Stop reading until `resume` was called as often as `pause`."""
        self._reader.pause()

    def resume(self) -> None:
        """Undo one `pause`."""
        self._reader.resume()

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Send the queued messages and a Close frame. The link ends within CLOSE_TIMEOUT, whatever the peer does."""
        if self._closing is None and not self.closed:
            self.why = reason or "closed by this side"
            self._closing = (code, reason)
            self._schedule()
            gevent.spawn_later(CLOSE_TIMEOUT, self._end, self.why)

    def abort(self, why: str) -> None:
        """Close at once and drop the queued messages."""
        self._end(why)

    def wait_closed(self, timeout: float | None = None) -> bool:
        """Wait until the link has ended; return whether it has."""
        return bool(self._ended.wait(timeout))

    def probe(self, timeout: float) -> bool:
        """Ping the peer; return whether anything arrived from it within `timeout` seconds."""
        if self.closed:
            return False
        self._probing += 1
        self._heard.clear()
        self._reader.heard = self._heard
        self._ping()
        try:
            return bool(self._heard.wait(timeout)) and not self.closed
        finally:
            self._probing -= 1
            if not self._probing:
                self._reader.heard = None

    # Receiving.

    def _noticed(self) -> None:
        """Handle control frames, and a breach of the protocol."""
        framing = self._framing
        for frame in framing.controls():
            self._handle_control(frame)
        if framing.has_output:
            self._schedule()
            if framing.is_flooded:
                self._end("the other side sends pings and does not read the answers")
        if framing.failure is not None:
            self._give_up(f"the other side broke the WebSocket protocol: {framing.failure}")

    def _handle_control(self, frame: Frame) -> None:
        if frame.opcode is Opcode.PONG and len(frame.data) == 8:
            round_trip = max(0.0, self._clock() - int.from_bytes(frame.data, "big") / 1e6)
            self.round_trip = round_trip if self.round_trip is None else min(self.round_trip, round_trip)
            if self._first_pings:
                self._first_pings -= 1
                self._ping()
        elif frame.opcode is Opcode.CLOSE:
            self._give_up(self._framing.close_reason or "closed by the other side")

    def _give_up(self, why: str) -> None:
        """Send the last frame, then end the link. `why` becomes its reason now."""
        self.why = self.why or why
        if self._closing is None:
            self._closing = (0, "")
            self._schedule()
            gevent.spawn_later(CLOSE_TIMEOUT, self._end, why)

    # Sending.

    def _schedule(self) -> None:
        """Write the queue at the end of this turn, unless that is scheduled already."""
        if not self._scheduled and not self._writer.blocked:
            self._scheduled = True
            at_end(self._write)

    def _write(self) -> None:
        self._scheduled = False
        if not self.closed:
            self._writer.write()
            if self._writer.blocked:
                self._pace.begin(self._clock())
            self._report_drained()

    def _resumed(self) -> None:
        """Measure the path after the kernel, which was full, has taken more."""
        now = self._clock()
        if self._pace.end(now):
            self._stream.limit_unsent(self._pace.size)
        if self._writer.blocked:
            self._pace.begin(now)
        self._report_drained()

    def _report_drained(self) -> None:
        if not self._queue.has_drained:
            return
        try:
            for lane in self._queue.drained():
                self.on_drained(lane)
        except Exception:  # without these reports the owner would wait forever
            self._end("its writer has failed")
            raise

    def _next_data(self) -> bytes:
        """Return the next bytes to write. After `close`, send the Close frame and end the stream."""
        framing = self._framing
        if (self._queue or framing.has_output) and (data := framing.encode(self._queue.take(self._pace.size))):
            return data
        if self._closing is None or self._said_goodbye:
            return b""
        code, reason = self._closing
        if code and framing.is_open:
            framing.close(code, reason)
            return framing.encode([])
        self._said_goodbye = True
        self._stream.end()
        return b""

    # Keeping alive.

    def _start_pinging(self) -> None:
        # The silence is checked more often than pings are sent, or it would be noticed up to an interval late.
        self._looks = max(4, math.ceil(4 * self._keepalive.interval / self._keepalive.silence))
        self._looked, self._first_pings = 0, FIRST_PINGS
        pause = self._keepalive.interval / self._looks
        self._timer: Any = gevent.get_hub().loop.timer(pause, pause)
        self._timer.start(self._beat)
        self._ping()

    def _beat(self) -> None:
        """Check the silence and ping, when the timer fires. Runs in the hub."""
        silence = self._clock() - self._reader.heard_at
        if silence >= self._keepalive.silence and self._reader.listens:  # else the owner has paused reading
            self._end(f"silent for {silence:.0f} s")
            return
        self._looked += 1
        if self._is_ping_due(silence):
            self._ping()

    def _is_ping_due(self, silence: float) -> bool:
        """Return whether this side pings now.

        The client pings regularly, which is enough for the server, which has thousands of links. The server checks a
        little later, and pings a client that was silent, and each client once to measure the round trip.
        """
        if self._side is Side.CLIENT:
            return self._looked % self._looks == 0
        is_silent = silence > 0.9 * self._keepalive.interval
        return self._looked % self._looks == 1 and (is_silent or self.round_trip is None)

    def _ping(self) -> None:
        if not self.closed:
            self._framing.ping(int(self._clock() * 1e6).to_bytes(8, "big"))
            self._schedule()

    def _lost(self, error: Exception | None) -> None:
        """End the link after the connection ended or the writer failed."""
        if error is None:
            self._end("the other side closed the connection")
        elif isinstance(error, OSError):
            self._end(f"the connection was lost ({error.strerror or error})")
        else:
            self._end("its writer has failed")

    def _end(self, why: str) -> None:
        if self.closed:
            return
        self.closed = True
        self.why = self.why or why
        self._reader.stop()
        self._writer.clear()
        self._ended.set()
        self._heard.set()
        self._timer.close()
        self._queue.clear()
        self._stream.close()
