"""Handing a proxy's listeners over to a successor, on a socket in the runtime directory.

The successor asks, gets the listening sockets, starts its workers on them, and says that they serve: only then does the
old proxy drain. If the successor fails before that, nothing has happened. Meanwhile both accept, and their workers are
one proxy: they share the directory.
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
"""Seconds until a takeover may be tried after one that could not even begin."""
ASK, SERVING = b"listeners", b"serving"
LARGEST = 4096
MOST_SOCKETS = 3


class TakeoverFailed(HubbleError):
    """The proxy that runs did not hand over its listeners."""


@dataclass(frozen=True)
class Handover:
    """What is handed over: the addresses as the options mean them, what listens there, the lock, the admin's token."""

    listen: str
    listener: socket.socket
    lock: int
    admin: str = ""
    admin_listener: socket.socket | None = None
    token: str = field(default="", repr=False)

    def send(self, connection: socket.socket) -> None:
        """Give it to the process at the other end."""
        sockets = [self.listener.fileno(), self.lock]
        if self.admin_listener is not None:
            sockets.append(self.admin_listener.fileno())
        said = {"listen": self.listen, "admin": self.admin, "token": self.token}
        socket.send_fds(connection, [json.dumps(said).encode()], sockets)

    @classmethod
    def receive(cls, connection: socket.socket) -> Handover:
        """What `send` sent. Raises OSError, ValueError, KeyError."""
        packet, sockets, _, _ = socket.recv_fds(connection, LARGEST, MOST_SOCKETS)
        for descriptor in sockets:
            os.set_inheritable(descriptor, False)
        said = json.loads(packet)
        listener, lock, *admin = sockets
        return cls(
            said["listen"],
            socket.socket(fileno=listener),
            lock,
            said["admin"],
            socket.socket(fileno=admin[0]) if admin else None,
            said["token"],
        )


class Successor:
    """The successor's side. `handover` is what it got. Raises TakeoverFailed."""

    def __init__(self, control: Path) -> None:
        self._connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._connection.settimeout(TIMEOUT)
        try:
            self._connection.connect(str(control))
            self._connection.send(ASK)
            self.handover = Handover.receive(self._connection)
        except (OSError, ValueError, KeyError) as error:
            self._connection.close()
            why = getattr(error, "strerror", None) or (error if isinstance(error, OSError) else "it broke off")
            raise TakeoverFailed(
                f"the proxy at {control.parent} does not hand over its listeners ({why}): it starts or ends just now, "
                "or hands them to another"
            ) from error

    def serve(self) -> None:
        """Tell the old proxy that its successor serves."""
        try:
            self._connection.send(SERVING)
        except OSError as error:
            log.warning("the proxy that was taken over is gone already: %s", error.strerror)
        self._connection.close()


class Offer:
    """The old proxy's side, on a socket at `path`, as a context; `on_taken` is called once a successor serves.

    There is one successor at a time: of two that serve, each would be without the other's knowledge. Raises
    TakeoverFailed if there can be no such socket.
    """

    def __init__(self, path: Path, handover: Handover, on_taken: Callable[[], None]) -> None:
        self._path = path
        self._handover = handover
        self._on_taken = on_taken
        try:
            self._socket = _listen(path)  # in place of a predecessor's, which is told next
        except OSError as error:
            raise TakeoverFailed(f"no successor could ask at {path}: {error.strerror}") from error

    async def restore(self) -> None:
        """Listen again if the socket's name was removed. Raises OSError."""
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
        # Not before the loop has forgotten the socket: it would mistake the next one with its number for this one.
        await asyncio.gather(self._serving, return_exceptions=True)
        self._socket.close()

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(self._socket)
                with connection:
                    await self._hand_over(connection)
            except Exception as error:  # no descriptor, no memory: a later successor may find both
                log.warning("a takeover failed: %s", getattr(error, "strerror", None) or error or type(error).__name__)
                await asyncio.sleep(PAUSE)

    async def _hand_over(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(TIMEOUT):
                asked = await loop.sock_recv(connection, LARGEST)
            if asked != ASK:
                return
            self._handover.send(connection)
            log.info("the listeners were handed over to another proxy, which starts")
            if await loop.sock_recv(connection, LARGEST) == SERVING:
                self._on_taken()
            else:
                log.warning("the proxy that was to take over has ended: this one goes on")
        except OSError as error:
            log.warning("a takeover was broken off: %s", error.strerror or "it asked for nothing")


def _listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.setblocking(False)
    try:
        listen_at(listener, path, 128)
    except OSError:
        listener.close()
        raise
    return listener
