"""One worker process and the supervisor's end of its channel."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from hubble.supervisor.channel import LARGEST, Message, Start, decode, encode

LOOKS = 5
"""The number of parts of a wait. A supervisor that was stopped must check the channel again after its timer expired."""
POLL = 0.01
"""Seconds between two checks whether a worker that has closed its channel has ended, which takes very little time."""


@dataclass(frozen=True)
class Program:
    """The program of a worker: run as `command`, then the number of its channel's descriptor, then `arguments`."""

    command: Sequence[str]
    arguments: Sequence[str] = ()


class WorkerProcess:
    """Starts a worker and sends it `start`; the worker inherits the descriptors named there. Raises OSError."""

    def __init__(self, program: Program, start: Start) -> None:
        self.number = start.number
        self.serves_since: float | None = None
        """The time of its Ready message, by the monotonic clock."""
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._channel.setblocking(False)
        descriptors = [theirs.fileno(), start.listener, start.load]
        if start.admin is not None:
            descriptors.append(start.admin)
        with theirs:
            try:
                self._process = subprocess.Popen(
                    [*program.command, str(theirs.fileno()), *program.arguments],
                    stdin=subprocess.DEVNULL,
                    pass_fds=descriptors,
                    preexec_fn=_ignore_terminal_signals,
                )
            except OSError:
                self._channel.close()
                raise
        self.send(start)

    @property
    def pid(self) -> int:
        """Return the process id."""
        return self._process.pid

    def send(self, message: Message) -> bool:
        """Send a message; return False if the worker has ended or its channel is full because it hangs."""
        try:
            self._channel.send(encode(message))
        except OSError:
            return False
        return True

    async def receive(self, within: float) -> Message | None:
        """Wait for the worker's next message; return None if it has ended.

        Raises TimeoutError if no message arrives within `within` seconds, and ProtocolError if a message is invalid.
        """
        await asyncio.sleep(0)  # a worker that sends continuously must not starve the event loop
        packet = self._packet()
        for _ in range(LOOKS):
            if packet is not None:
                break
            await self._readable(within / LOOKS)
            packet = self._packet()
        if packet is None:
            raise TimeoutError
        return decode(packet) if packet else None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; do nothing if the worker has ended."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """Send SIGKILL."""
        self._process.kill()

    async def ended(self, within: float) -> int:
        """Wait until the worker has ended; kill it after `within` seconds.

        Return its exit status, or the negative number of the signal that ended it.
        """
        deadline = time.monotonic() + within
        while (status := self._process.poll()) is None:
            if time.monotonic() > deadline:
                self.kill()
            await asyncio.sleep(POLL)
        self._channel.close()
        return status

    def _packet(self) -> bytes | None:
        """Return a packet without waiting: b"" if the worker has ended, None if there is no packet."""
        try:
            return self._channel.recv(LARGEST)
        except BlockingIOError:
            return None
        except ConnectionResetError:  # the worker ended without reading all messages
            return b""

    async def _readable(self, within: float) -> None:
        loop, readable = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._channel, readable.set)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(within):
                    await readable.wait()
        finally:
            loop.remove_reader(self._channel)


def how(status: int) -> str:
    """Describe an exit status as a predicate: "exited with status 1", "was killed by SIGKILL"."""
    if status >= 0:
        return f"exited with status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:  # a real-time signal
        return f"was killed by signal {-status}"


def _ignore_terminal_signals() -> None:
    """Ignore the signals of a terminal, which also reach the supervisor; the supervisor informs the workers.

    A worker that is still starting also ignores these signals if they are sent to it directly.
    """
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
