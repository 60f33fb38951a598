"""Sends events to the machine's syslog, or to a syslog server over UDP."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Sequence

from hubble.events.model import AuthorizationDenied, Event, RegistrationRefused, ScriptError, timestamp
from hubble.events.text import line

log = logging.getLogger(__name__)

DEFAULT_PATH = "/dev/log"
FACILITY = 16  # local0
NOTICE, WARNING, ERROR = 5, 4, 3
SEVERITIES: dict[type[Event], int] = {AuthorizationDenied: WARNING, RegistrationRefused: WARNING, ScriptError: ERROR}
MAX_DATAGRAM = 8192
"""Bytes beyond which a message is cut. A syslog server may cut at 2,048 bytes (RFC 5426, section 3.2)."""


class SyslogLogger:
    """Sends each event, as JSON, in a datagram to a Unix socket, or to (host, port) over UDP (RFC 5424, RFC 5426).

    `dropped` counts events that could not be sent. The facility is local0. Denials have severity warning, script errors
    have severity error.
    """

    def __init__(self, address: str | tuple[str, int] = DEFAULT_PATH) -> None:
        self.dropped = 0
        self._address = address
        self._socket: socket.socket | None = None
        self._failing = False

    def log(self, event: Event) -> None:
        """Send one event."""
        self.log_all([event])

    def log_all(self, events: Sequence[Event]) -> None:
        """Send events."""
        for number, event in enumerate(events):
            try:
                self._send(self._message(event))
            except OSError as error:
                self.close()
                self.dropped += len(events) - number
                if not self._failing:
                    log.error("cannot send events to syslog at %s: %s", self._address, error.strerror or error)
                self._failing = True
                return
        self._failing = False

    def close(self) -> None:
        """Close the socket; the next event opens a new one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def reopen(self) -> None:
        """Connect again, because the daemon may have a new socket."""
        self.close()

    def _send(self, message: bytes) -> None:
        if self._socket is None:
            self._socket = _connected(self._address)
        try:
            self._socket.send(message)
        except (ConnectionError, FileNotFoundError):  # the daemon was restarted
            self.close()
            self._socket = _connected(self._address)
            self._socket.send(message)

    def _message(self, event: Event) -> bytes:
        priority = f"<{FACILITY * 8 + SEVERITIES.get(type(event), NOTICE)}>"
        if isinstance(self._address, str):  # the format of local daemons, which add the rest
            head = f"{priority}hubble[{os.getpid()}]: "
        else:
            host = socket.gethostname() or "-"
            head = f"{priority}1 {timestamp(event.time)} {host} hubble {os.getpid()} {event.name} - "
        return (head + line(event)).encode("utf-8", "replace")[:MAX_DATAGRAM]


def _connected(address: str | tuple[str, int]) -> socket.socket:
    if isinstance(address, str):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            sock.connect(address)
        except OSError:
            sock.close()
            raise
        return sock
    family, kind, protocol, _, where = socket.getaddrinfo(*address, type=socket.SOCK_DGRAM)[0]
    sock = socket.socket(family, kind, protocol)
    sock.connect(where)
    return sock
