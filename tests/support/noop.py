"""A worker that does no work, but behaves as it is told: `python -m tests.support.noop CHANNEL ...`.

The variable NOOP holds how each worker behaves: `,` stands between those of different numbers, `/` between those of one
number one after the other; the last says it for all that come. What happens is a line on standard output: `noop NUMBER
PID EVENT`.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path

from hubble.supervisor.channel import (
    LARGEST,
    Beat,
    Drain,
    Failed,
    Message,
    Ready,
    Reload,
    Reloaded,
    Start,
    Stop,
    decode,
    encode,
)
from hubble.transport.bind import begin_to_listen

VARIABLE = "NOOP"
BEAT = 0.1
LONGEST = 60
"""Seconds after which it is gone, whatever it was told."""
FAILED, DIED = 3, 7
"""Exit statuses."""


class Noop:
    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        start = decode(channel.recv(LARGEST))
        assert isinstance(start, Start)
        self._number = start.number
        inherited = [start.listener] if start.admin is None else [start.listener, start.admin]
        self._listeners = [socket.socket(fileno=descriptor) for descriptor in inherited]
        self._runtime_dir = start.runtime_dir
        behaviours = at(at(os.environ[VARIABLE].split(","), start.number).split("/"), earlier(start))
        self._behaviour, _, self._detail = behaviours.partition("=")
        signal.signal(signal.SIGUSR1, lambda *_: self._say(Drain(5.0)))
        signal.alarm(LONGEST)
        self._log("started")

    def run(self) -> int:
        match self._behaviour:
            case "fail":
                self._say(Failed(self._detail, FAILED))
                return FAILED
            case "die":
                return DIED
            case "unready":
                signal.pause()
            case "await":  # a file beside the runtime directory
                while not Path(self._runtime_dir).with_name(self._detail).exists():
                    time.sleep(BEAT)
        for listener in self._listeners:
            begin_to_listen(listener)  # nobody accepts, but connections can be made
        self._say(Ready())
        match self._behaviour:
            case "junk":
                self._channel.send(b"junk")
            case "flood":
                packet = encode(Beat())
                while True:  # until the supervisor is gone
                    self._channel.send(packet)
            case "linger":
                self._channel.close()
                signal.pause()
            case "mute":
                signal.pause()
        return self._serve()

    def _serve(self) -> int:
        beat = time.monotonic()
        while True:
            if select.select([self._channel], [], [], BEAT)[0]:
                packet = self._channel.recv(LARGEST)
                if not packet:
                    self._log("orphaned")
                    return 0
                if self._ends_at(decode(packet)):
                    return 0
            if time.monotonic() - beat >= BEAT:
                beat = time.monotonic()
                self._say(Beat())

    def _ends_at(self, message: Message) -> bool:
        self._log(str(message))
        if isinstance(message, Reload) and self._behaviour != "ponder":
            self._say(Reloaded(self._detail if self._behaviour == "problem" else ""))
        return isinstance(message, Stop | Drain) and self._behaviour != "deaf"

    def _say(self, message: Message) -> None:
        with suppress(OSError):  # the supervisor is gone
            self._channel.send(encode(message))

    def _log(self, event: str) -> None:
        os.write(1, f"noop {self._number} {os.getpid()} {event}\n".encode())  # at once: others write there too


def at(texts: list[str], place: int) -> str:
    return texts[min(place, len(texts) - 1)]


def earlier(start: Start) -> int:
    """How many had this number before; this one is counted from now on."""
    with open(f"{start.runtime_dir}.{start.number}", "a") as file:
        file.write("x")
        return file.tell() - 1


if __name__ == "__main__":
    with suppress(BrokenPipeError):
        sys.exit(Noop(socket.socket(fileno=int(sys.argv[1]))).run())
