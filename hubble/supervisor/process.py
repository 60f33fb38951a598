"""One worker, as the supervisor sees it: a fresh process, and a channel to it."""

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
"""Into how many parts a wait is cut: a process that was stopped itself finds its time gone, and has to look anew."""
POLL = 0.01
"""Seconds between looks at whether a worker that has closed its channel has ended: that takes it no time at all."""


@dataclass(frozen=True)
class Program:
    """How a worker is started: `command`, then the number of its channel's descriptor, then `arguments`."""

    command: Sequence[str]
    arguments: Sequence[str] = ()


class WorkerProcess:
    """Starts it, and tells it what `start` says; the descriptors named there are passed on. Raises OSError."""

    def __init__(self, program: Program, start: Start) -> None:
        self.number = start.number
        self.serves_since: float | None = None
        """When it said that it serves, by the monotonic clock."""
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
                    preexec_fn=_ignore_a_terminal,
                )
            except OSError:
                self._channel.close()
                raise
        self.send(start)

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def send(self, message: Message) -> bool:
        """Tell it something. False if it is gone, or has not listened for long: then its heartbeat will tell."""
        try:
            self._channel.send(encode(message))
        except OSError:
            return False
        return True

    async def receive(self, within: float) -> Message | None:
        """The next thing it says; None if it is gone.

        Raises TimeoutError if it says nothing for `within` seconds, and ProtocolError if that is no message.
        """
        await asyncio.sleep(0)  # one that never stops talking must not keep the loop from everything else
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
        """Send it a signal; nothing happens if it is gone."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL: it has hung, or there is no more time."""
        self._process.kill()

    async def ended(self, within: float) -> int:
        """Wait until it has, and kill it after `within` seconds; its exit status, minus the signal's number if one
        ended it.
        """
        deadline = time.monotonic() + within
        while (status := self._process.poll()) is None:
            if time.monotonic() > deadline:
                self.kill()
            await asyncio.sleep(POLL)
        self._channel.close()
        return status

    def _packet(self) -> bytes | None:
        """What has come; b"" if it is gone, None if nothing has."""
        try:
            return self._channel.recv(LARGEST)
        except BlockingIOError:
            return None
        except ConnectionResetError:  # it is gone, and had not read all that it was told
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
    """What an exit status means."""
    if status >= 0:
        return f"it has ended with status {status}"
    try:
        return f"it was ended by {signal.Signals(-status).name}"
    except ValueError:  # a real-time signal
        return f"it was ended by signal {-status}"


def _ignore_a_terminal() -> None:
    """What a terminal sends goes to the supervisor too, which tells the workers. They may not even have begun: then
    what is for a worker itself is lost as well.
    """
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
