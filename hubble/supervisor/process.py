"""One worker, as the supervisor sees it: a fresh process, and a channel to it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from hubble.supervisor.channel import LARGEST, Message, Start, decode, encode


@dataclass(frozen=True)
class Program:
    """How a worker is started: `command`, then the number of its channel's descriptor, then `arguments`."""

    command: Sequence[str]
    arguments: Sequence[str] = ()


class WorkerProcess:
    """Starts it, and tells it what `start` says; the descriptors named there are passed on."""

    def __init__(self, program: Program, start: Start) -> None:
        self.number = start.number
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._channel.setblocking(False)
        descriptors = [theirs.fileno(), start.listener, start.load]
        if start.admin is not None:
            descriptors.append(start.admin)
        with theirs:
            self._process = subprocess.Popen(
                [*program.command, str(theirs.fileno()), *program.arguments],
                stdin=subprocess.DEVNULL,
                pass_fds=descriptors,
            )
        self.send(start)

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def send(self, message: Message) -> None:
        """Tell it something. Nothing happens if it is gone, or has not listened for long: its heartbeat will tell."""
        with suppress(OSError):
            self._channel.send(encode(message))

    async def receive(self, within: float) -> Message | None:
        """The next thing it says; None if it is gone. Raises TimeoutError if it says nothing `within` seconds."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(within):
                packet = await loop.sock_recv(self._channel, LARGEST)
        except ConnectionResetError:  # it is gone, and had not read all that it was told
            return None
        return decode(packet) if packet else None

    def kill(self) -> None:
        """SIGKILL: it has hung, or there is no more time."""
        self._process.send_signal(signal.SIGKILL)

    async def ended(self) -> int:
        """Wait until it has; its exit status, minus the signal's number if one ended it."""
        loop = asyncio.get_running_loop()
        exited = loop.create_future()
        descriptor = os.pidfd_open(self._process.pid)
        loop.add_reader(descriptor, exited.set_result, None)
        try:
            await exited
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)
            self._channel.close()
        return self._process.wait()


def how(status: int) -> str:
    """What an exit status means."""
    return f"it was ended by {signal.Signals(-status).name}" if status < 0 else f"it has ended with status {status}"
