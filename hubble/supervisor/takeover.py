"""The handover of a proxy's listeners to a successor, over a socket in the runtime directory.

The successor requests the listening sockets, starts its workers on them, and reports that they serve. Only then does
the old proxy drain. If the successor fails before that, the old proxy simply continues. Meanwhile both accept, and
their workers form one proxy, because they share the directory.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from hubble.base.errors import HubbleError
from hubble.base.runtimedir import listen_at

log = logging.getLogger(__name__)

TIMEOUT = 5.0
PAUSE = 1.0
"""Seconds to wait after an error in accepting a successor."""
ASK, SERVING = b"listeners", b"serving"
LARGEST = 4096
MOST_SOCKETS = 3


class TakeoverFailed(HubbleError):
    """The running proxy did not hand over its listeners."""


@dataclass(frozen=True)
class Handover:
    """The contents of a handover: addresses from the options, their sockets, the lock's descriptor, the admin token."""

    listen: str
    listener: socket.socket
    lock: int
    admin: str = ""
    admin_listener: socket.socket | None = None
    token: str = field(default="", repr=False)

    def send(self, connection: socket.socket) -> None:
        """Send the handover to the process at the other end."""
        sockets = [self.listener.fileno(), self.lock]
        if self.admin_listener is not None:
            sockets.append(self.admin_listener.fileno())
        fields = {"listen": self.listen, "admin": self.admin, "token": self.token}
        socket.send_fds(connection, [json.dumps(fields).encode()], sockets)

    @classmethod
    def receive(cls, connection: socket.socket) -> Handover:
        """Receive a handover. Raises OSError, ValueError, KeyError."""
        packet, sockets, _, _ = socket.recv_fds(connection, LARGEST, MOST_SOCKETS)
        for descriptor in sockets:
            os.set_inheritable(descriptor, False)
        fields = json.loads(packet)
        listener, lock, *admin = sockets
        return cls(
            fields["listen"],
            socket.socket(fileno=listener),
            lock,
            fields["admin"],
            socket.socket(fileno=admin[0]) if admin else None,
            fields["token"],
        )


class Successor:
    """The successor's side; `handover` is what the old proxy handed over. Raises TakeoverFailed."""

    def __init__(self, control: Path) -> None:
        self._connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._connection.settimeout(TIMEOUT)
        try:
            self._connection.connect(str(control))
            self._connection.send(ASK)
            self.handover = Handover.receive(self._connection)
        except (OSError, ValueError, KeyError) as error:
            self._connection.close()
            why = getattr(error, "strerror", None) or (error if isinstance(error, OSError) else "incomplete answer")
            raise TakeoverFailed(
                f"the proxy at {control.parent} does not hand over its listeners ({why}); it may be starting, stopping "
                "or handing them to another successor, so try again later"
            ) from error

    def serve(self) -> None:
        """Report to the old proxy that its successor serves."""
        try:
            self._connection.send(SERVING)
        except OSError as error:
            log.warning("the replaced proxy has already ended: %s", error.strerror)
        self._connection.close()


class Offer:
    """The old proxy's side: a context manager that listens at `path`, and calls `on_taken` once a successor serves.

    It serves one successor at a time: two successors would not know of each other. Raises TakeoverFailed if it cannot
    listen.
    """

    def __init__(self, path: Path, handover: Handover, on_taken: Callable[[], None]) -> None:
        self._path = path
        self._handover = handover
        self._on_taken = on_taken
        try:
            self._socket = _listen(path)  # replaces the predecessor's socket
        except OSError as error:
            raise TakeoverFailed(f"cannot listen for a successor at {path}: {error.strerror}") from error

    async def restore(self) -> None:
        """Listen again if the socket's file was removed. Raises OSError."""
        if self._path.exists():
            return
        listener = _listen(self._path)
        await self._end()
        self._socket = listener
        self._serving = asyncio.create_task(self._serve())

    async def __aenter__(self) -> Offer:
        self._serving = asyncio.create_task(self._serve())
        return self

    async def __aexit__(self, *failure: object) -> None:
        await self._end()

    async def _end(self) -> None:
        self._serving.cancel()
        # Close only after the loop has forgotten the descriptor: it would confuse a new socket with the same number.
        await asyncio.gather(self._serving, return_exceptions=True)
        self._socket.close()

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(self._socket)
                with connection:
                    await self._hand_over(connection)
            except Exception as error:  # a lack of descriptors or memory: a later takeover may succeed
                log.warning("takeover failed: %s", getattr(error, "strerror", None) or error or type(error).__name__)
                await asyncio.sleep(PAUSE)

    async def _hand_over(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(TIMEOUT):
                asked = await loop.sock_recv(connection, LARGEST)
            if asked != ASK:
                return
            self._handover.send(connection)
            log.info("handed the listeners over to another proxy, which is starting")
            if await loop.sock_recv(connection, LARGEST) == SERVING:
                self._on_taken()
            else:
                log.warning("takeover failed: the successor has ended; this proxy continues")
        except OSError as error:
            log.warning("takeover failed: %s", error.strerror or f"no request within {TIMEOUT:g} s")


def _listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.setblocking(False)
    try:
        listen_at(listener, path, 128)
    except OSError:
        listener.close()
        raise
    return listener
