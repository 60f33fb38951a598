"""TLS for the listening side: the server certificate, which may change at run time, and client certificates."""

from __future__ import annotations

import logging
import re
import ssl
from pathlib import Path
from typing import Any

import gevent
from gevent import ssl as gevent_ssl

from hubble.base.errors import UsageError
from hubble.base.files import Signature, signature
from hubble.base.floodlog import FloodLog
from hubble.transport.addresses import Socket
from hubble.transport.endpoint import endpoint
from hubble.transport.tls import harden, load_ca, load_cert, shake_hands
from hubble.transport.tlsfaults import explain

log = logging.getLogger(__name__)


def server_context(
    cert_file: str, key_file: str | None, client_ca: str | None = None, require_client: bool = False
) -> ssl.SSLContext:
    """Return a context for a listener: TLS 1.2 or later, Python's ciphers. Raises `UsageError` for unusable files.

    With `client_ca` (PEM), clients are asked for a certificate. With `require_client`, they must present one.
    """
    context: ssl.SSLContext = gevent_ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    harden(context)
    # Agents do not resume TLS, and a ticket that a client has not read would turn its close into a reset.
    context.num_tickets = 0
    load_cert(context, cert_file, key_file)
    if client_ca is not None:
        load_ca(context, client_ca)
        context.verify_mode = ssl.CERT_REQUIRED if require_client else ssl.CERT_OPTIONAL
    return context


class ServerTLS:
    """A listener's certificate; give it to a gevent server as its `ssl_context`.

    Changed files are read again at `reload` and before each handshake. Existing connections are not affected.
    `handshake_timeout` is in seconds. Raises `UsageError` for unusable files.
    """

    def __init__(
        self,
        cert_file: str,
        key_file: str | None = None,
        client_ca: str | None = None,
        require_client: bool = False,
        handshake_timeout: float = 10.0,
    ) -> None:
        self._files = (cert_file, key_file, client_ca, require_client)
        self._handshake_timeout = handshake_timeout
        self._flood = FloodLog(log)
        self._seen = self._state()
        self._context = server_context(*self._files)

    def reload(self) -> None:
        """Read the files again. Raises `UsageError` without a change if a file is unusable."""
        self._seen = self._state()
        self._context = server_context(*self._files)

    def wrap_socket(self, sock: Socket, server_side: bool = True) -> Socket:
        """Perform the handshake, as a gevent server requires. A failure ends the connection's greenlet."""
        peer = _peer(sock)
        self._reload_if_changed()
        try:
            with gevent.Timeout(self._handshake_timeout, TimeoutError("no handshake in time")):
                return shake_hands(self._context, sock, server_side=server_side)
        except OSError as error:
            why = explain(error, server_side=True)
            self._flood.log(
                logging.INFO, "TLS failures", peer.rpartition(":")[0].strip("[]"), "TLS with %s failed: %s", peer, why
            )
            # Port scanners cause many failures, and the server would print a traceback for any other exception.
            raise gevent.GreenletExit from error

    def _reload_if_changed(self) -> None:
        """Reload changed files. An unusable file, which may be half written, is logged once until the next change."""
        if self._state() == self._seen:
            return
        try:
            self.reload()
        except UsageError as error:
            log.error("kept the previous TLS certificate: %s", error)
        else:
            log.info("reloaded the TLS certificate, because its files have changed")

    def _state(self) -> list[Signature | None]:
        return [_file_state(file) for file in self._files[:3] if file is not None]


NAME_TYPES = {
    "commonName": "CN",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "stateOrProvinceName": "ST",
    "localityName": "L",
    "domainComponent": "DC",
    "userId": "UID",
}


def peer_subject(sock: Socket) -> str | None:
    """Return the subject of the client's verified certificate (RFC 4514: `CN=agent1,O=Example`), or None."""
    certificate: dict[str, Any] = getattr(sock, "getpeercert", dict)() or {}
    subject = [attribute for group in certificate.get("subject", ()) for attribute in group]
    parts = (f"{NAME_TYPES.get(kind, kind)}={_escape(value)}" for kind, value in reversed(subject))
    return ",".join(parts) or None


def _escape(value: str) -> str:
    escaped = re.sub(r'([,+"\\<>;=]|^[ #]| $)', r"\\\1", value)
    return "".join(char if char.isprintable() else "".join(f"\\{b:02X}" for b in char.encode()) for char in escaped)


def _file_state(file: str) -> Signature | None:
    try:
        return signature(Path(file))
    except OSError:  # missing, possibly while it is being replaced
        return None


def _peer(sock: Socket) -> str:
    try:
        name = sock.getpeername()
    except OSError:  # it has already disconnected
        return "a client"
    return endpoint(name[0], name[1]) if isinstance(name, tuple) else "a local client"
