"""A link: whole messages in and out over one WebSocket.

Messages to send are put into a fair queue. The hub writes it out once the greenlet that runs now has nothing more to
put; when the kernel takes no more, the link's writer greenlet waits, and goes on. One greenlet, the owner's, reads.
A link that has been silent for too long is dead.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable, Iterator
from typing import Any

import gevent
from gevent.event import Event
from websockets.frames import Frame, Opcode
from websockets.protocol import Side

from hubble.base.errors import LinkClosed
from hubble.base.slices import others_first
from hubble.protocol.fairqueue import Caps, FairQueue, Lane, LaneFull, QueueFull, Total
from hubble.transport.addresses import Socket
from hubble.transport.framing import Framing
from hubble.transport.linkoptions import Keepalive as Keepalive
from hubble.transport.linkoptions import keep_queue_short, limit_silence
from hubble.transport.stream import open_stream

RECEIVE_SIZE = 256 * 1024
BATCH_SIZE = 128 * 1024
"""Bytes that the writer hands to the kernel at a time: what waits behind them waits this long."""
FIRST_PINGS = 8
"""Pings that follow one another when a link is new: the fastest shows what its path takes."""
CLOSE_TIMEOUT = 1.0
SLICE = 0.0005
"""Seconds that a link works on what it has received before the others have their turn."""
FEW = 4
"""Messages of one read for which nobody looks at the clock: large ones, mostly, that take little time for each byte."""
DRAIN_INTERVAL = 0.01
"""Seconds between two reads of what comes behind a close, or behind a breach of the protocol."""
FIRST_MESSAGE = 16 * 1024
"""Bytes that a stranger's first message may have: a Handshake with a long key, or what answers it."""

# One for all links of a process: a greenlet fills it and empties it without a switch in between.
_receive_buffer = memoryview(bytearray(RECEIVE_SIZE))

queued_in_process = Total()
"""What waits to be sent on all links of the process. The owner of the process may set how much that may be."""


class Link:
    """A link over a connected stream socket that has been upgraded to a WebSocket already.

    `leftover` are bytes that came behind the upgrade. `masked`: whether the client's side masks its messages, as
    RFC 6455 wants it where strange HTTP proxies may be on the way; both sides must say the same. `first_limit`: bytes
    that the other side's first message may have, None for as many as any; fewer frames may come before it then as well.
    `on_drained`, which the owner may set, is called by the writer with each lane that was full and has room again; it
    must not block.
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
        """Once closed: why, in a few words."""
        self.round_trip: float | None = None
        """Seconds the fastest ping took, or None before the first has returned."""
        self.closed = False
        """Whether nothing can be sent or received any more."""
        self.on_drained: Callable[[Lane], None] = lambda lane: None
        self._stream = open_stream(sock)
        self._loop = gevent.get_hub().loop
        self._framing = Framing(side, masked, first_limit=first_limit, clock=clock)
        self._side = side
        self._leftover = leftover
        self._keepalive = keepalive or Keepalive()
        self._clock = clock
        self._queue = FairQueue(caps=caps, total=queued_in_process)
        self._scheduled = False
        self._rest: bytes | memoryview = b""
        self._blocked = Event()
        self._writing = False
        self._ended = Event()
        self._heard = Event()
        self._probing = 0
        self._closing: tuple[int, str] | None = None
        self._heard_at = clock()
        self._slice_end = self._heard_at + SLICE
        self._reading = False
        keep_queue_short(sock, BATCH_SIZE)
        limit_silence(sock, self._keepalive.silence)
        self._writer = gevent.spawn(self._write)
        # The silence is looked at more often than pings are sent: it would else be noticed up to an interval late.
        self._looks = max(4, math.ceil(4 * self._keepalive.interval / self._keepalive.silence))
        self._looked = 0
        pause = self._keepalive.interval / self._looks
        self._timer: Any = self._loop.timer(pause, pause)
        self._timer.start(self._beat)
        self._first_pings = FIRST_PINGS
        self._ping()

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
        """Queue a message that overtakes all lanes, in place of the last with the same key if that still waits."""
        if not self.closed and self._closing is None:
            try:
                self._queue.put_latest(message, key)
            except QueueFull as error:
                self._give_up_on_reader(str(error))
            self._schedule()

    def _give_up_on_reader(self, why: str) -> None:
        """The other side does not read what it is sent: drop it all, and close."""
        self._queue.clear()
        self.close(1008, why)

    def is_full(self, lane: Lane) -> bool:
        """Whether a lane has enough queued for now. If so, `on_drained` is called when it has room again."""
        return self._queue.is_full(lane)

    def queued(self, lane: Lane) -> int:
        """How many bytes are queued in a lane."""
        return self._queue.size(lane)

    @property
    def queued_bytes(self) -> int:
        """How many bytes are queued in all."""
        return self._queue.waiting_bytes

    def discard(self, lane: Lane) -> None:
        """Drop what is queued in a lane."""
        self._queue.discard(lane)
        self._schedule()

    def messages(self) -> Iterator[bytes]:
        """The messages that arrive, each whole, for as long as the link lives. Raises LinkClosed at its end.

        What the caller does with each counts: after SLICE seconds the other greenlets have their turn.
        """
        try:
            while True:
                messages = self._receive()
                if len(messages) <= FEW:
                    yield from messages
                else:
                    for message in messages:
                        yield message
                        if self._clock() > self._slice_end:
                            self._give_way()
        except OSError as error:
            self._lost(error)
        raise LinkClosed(self.why)

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Send what is queued, then say good-bye; the link ends soon after, whatever the other side does."""
        if self._closing is None and not self.closed:
            self.why = reason or "closed by this side"
            self._closing = (code, reason)
            self._start_writer()
            gevent.spawn_later(CLOSE_TIMEOUT, self._end, self.why)

    def abort(self, why: str) -> None:
        """Close at once; what is queued is dropped."""
        self._end(why)

    def wait_closed(self, timeout: float | None = None) -> bool:
        """Wait until the link is closed; whether it is."""
        return bool(self._ended.wait(timeout))

    def probe(self, timeout: float) -> bool:
        """Ask the other side for a sign of life; whether one came within `timeout` seconds."""
        if self.closed:
            return False
        self._heard.clear()
        self._probing += 1
        self._ping()
        try:
            return bool(self._heard.wait(timeout)) and not self.closed
        finally:
            self._probing -= 1

    # The reader's side.

    def _receive(self) -> list[bytes]:
        """The messages complete with the next bytes to arrive. Raises OSError, or LinkClosed at the stream's end."""
        framing = self._framing
        if framing.has_rest:
            if self._clock() > self._slice_end:
                self._give_way()
            if self.closed:
                raise LinkClosed(self.why)
            messages = framing.receive_rest()
        else:
            messages = framing.receive(self._read())
        if framing.has_news:
            self._heed_news()
        return messages

    def _heed_news(self) -> None:
        """Something other than messages has come."""
        framing = self._framing
        for frame in framing.controls():
            self._handle(frame)
        if framing.has_output:
            self._schedule()
            if framing.is_flooded:
                self._end("the other side sends pings and does not read the answers")
        if framing.failure is not None:
            self._give_up(f"the other side broke the WebSocket protocol: {framing.failure}")

    def _read(self) -> memoryview:
        """The next bytes to arrive, until the next read of any link. Raises OSError, or LinkClosed at the end."""
        is_ready = self._stream.is_ready
        if is_ready and self._clock() > self._slice_end:
            self._give_way()
        if self.closed:
            raise LinkClosed(self.why)
        if self._leftover:
            data, self._leftover = memoryview(self._leftover), b""
        else:
            self._reading = True
            data = _receive_buffer[: self._stream.recv_into(_receive_buffer)]
            self._reading = False
        if not data:
            self._end("the other side closed the connection")
            raise LinkClosed(self.why)
        self._heard_at = self._clock()
        if not is_ready:  # it has waited
            self._slice_end = self._heard_at + SLICE
        if self._probing:
            self._heard.set()
        if self._framing.is_over:  # until the other side has read why, what it sends is drained, in no hurry
            gevent.sleep(DRAIN_INTERVAL)
        return data

    def _give_way(self) -> None:
        """Come back when whatever is ready by now has had its turn, other links above all."""
        others_first()
        self._slice_end = self._clock() + SLICE

    def _handle(self, frame: Frame) -> None:
        if frame.opcode is Opcode.PONG and len(frame.data) == 8:
            round_trip = max(0.0, self._clock() - int.from_bytes(frame.data, "big") / 1e6)
            self.round_trip = round_trip if self.round_trip is None else min(self.round_trip, round_trip)
            if self._first_pings:
                self._first_pings -= 1
                self._ping()
        elif frame.opcode is Opcode.CLOSE:
            self._give_up(self._framing.close_reason or "closed by the other side")

    def _give_up(self, why: str) -> None:
        """Let the writer send the last frame, then end; `why` is remembered now."""
        self.why = self.why or why
        if self._closing is None:
            self._closing = (0, "")
            self._start_writer()
            gevent.spawn_later(CLOSE_TIMEOUT, self._end, why)

    # The writer's side.

    def _schedule(self) -> None:
        """Have the hub write, unless it will already, or the writer is at it."""
        if not self._scheduled and not self._writing:
            self._scheduled = True
            self._loop.run_callback(self._write_now)

    def _write_now(self) -> None:
        """In the hub: write without waiting; what the kernel does not take is left to the writer."""
        self._scheduled = False
        if self._writing or self.closed:
            return
        try:
            data = self._next_batch()
            taken = self._stream.send_now(data)
        except OSError as error:
            self._lost(error)
            return
        except Exception:  # no memory, perhaps: a part of a message may be lost
            self._end("its writer has failed")
            raise
        if taken < len(data):
            self._rest = memoryview(data)[taken:]
        if self._rest or self._queue or self._queue.has_drained:
            self._start_writer()

    def _start_writer(self) -> None:
        self._writing = True
        self._blocked.set()

    def _write(self) -> None:
        """The writer: writes while the kernel is full, and says good-bye."""
        try:
            while not self.closed:
                self._blocked.wait()
                self._write_queued()
                if self._closing:
                    self._say_goodbye(*self._closing)
                    return
                self._writing = False
                self._blocked.clear()
        except OSError as error:
            self._lost(error)
        except BaseException:  # the owner's `on_drained`: without a writer the link is of no use
            self._end("its writer has failed")
            raise

    def _write_queued(self) -> None:
        while self._rest or self._queue or self._framing.has_output or self._queue.has_drained:
            rest, self._rest = self._rest, b""
            self._stream.sendall(rest or self._next_batch())
            for lane in self._queue.drained():
                self.on_drained(lane)

    def _next_batch(self) -> bytes:
        return self._framing.encode(self._queue.take(BATCH_SIZE))

    def _say_goodbye(self, code: int, reason: str) -> None:
        if code:
            self._framing.close(code, reason)
        self._stream.sendall(self._next_batch())
        self._stream.end()

    # Either side's.

    def _beat(self) -> None:
        """The timer: runs in the hub, so it must not block."""
        silence = self._clock() - self._heard_at
        if silence >= self._keepalive.silence and self._reading:  # else it is the owner who does not listen
            self._end(f"silent for {silence:.0f} s")
            return
        self._looked += 1
        if self._is_ping_due(silence):
            self._ping()

    def _is_ping_due(self, silence: float) -> bool:
        """The client pings regularly. That is sign of life enough for the server, which has thousands of links.

        It looks a little after the client has pinged, and pings who has been silent, and each client once for the
        round trip.
        """
        if self._side is Side.CLIENT:
            return self._looked % self._looks == 0
        is_silent = silence > 0.9 * self._keepalive.interval
        return self._looked % self._looks == 1 and (is_silent or self.round_trip is None)

    def _ping(self) -> None:
        if not self.closed:
            self._framing.ping(int(self._clock() * 1e6).to_bytes(8, "big"))
            self._schedule()

    def _lost(self, error: OSError) -> None:
        self._end(f"the connection was lost ({error.strerror or error})")

    def _end(self, why: str) -> None:
        if self.closed:
            return
        self.closed = True
        self.why = self.why or why
        self._ended.set()
        self._heard.set()
        self._timer.close()
        self._queue.clear()
        self._rest = b""
        self._start_writer()
        self._stream.close()
