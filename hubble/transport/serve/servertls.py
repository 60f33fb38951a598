"""TLS for who listens: the certificate to show, which may change while we run, and whose certificates to ask for."""

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
    """A context for a listener: TLS 1.2 or later, Python's ciphers. Raises `UsageError` for unusable files.

    With `client_ca` (PEM) clients are asked for a certificate, and with `require_client` need one.
    """
    context: ssl.SSLContext = gevent_ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    harden(context)
    # Agents do not resume TLS. A ticket that a client has not read when it closes would turn that into a reset.
    context.num_tickets = 0
    load_cert(context, cert_file, key_file)
    if client_ca is not None:
        load_ca(context, client_ca)
        context.verify_mode = ssl.CERT_REQUIRED if require_client else ssl.CERT_OPTIONAL
    return context


class ServerTLS:
    """A listener's certificate; give it to a gevent server as its `ssl_context`.

    Files that have changed are read again, for the connections from then on: at `reload`, and before each handshake.
    Connections that stand keep what they were made with. `handshake_timeout` is in seconds. Raises `UsageError` for
    unusable files.
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
        """Read the files again. Raises `UsageError`, and changes nothing then."""
        self._seen = self._state()
        self._context = server_context(*self._files)

    def wrap_socket(self, sock: Socket, server_side: bool = True) -> Socket:
        """What a gevent server calls, in the connection's greenlet; ends that greenlet if TLS fails."""
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
            # Port scanners cause this all day; the server would print a traceback for any other exception.
            raise gevent.GreenletExit from error

    def _reload_if_changed(self) -> None:
        """What cannot be used, being half written perhaps, is logged once; the next change is looked at again."""
        if self._state() == self._seen:
            return
        try:
            self.reload()
        except UsageError as error:
            log.error("TLS goes on with the certificate it has: %s", error)
        else:
            log.info("the TLS certificate was read again: its files have changed")

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
    """The subject of the client's verified certificate (RFC 4514: `CN=agent1,O=Example`); None without one."""
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
    except OSError:  # away, perhaps for the moment in which it is replaced
        return None


def _peer(sock: Socket) -> str:
    try:
        name = sock.getpeername()
    except OSError:  # it has hung up already
        return "a client"
    return endpoint(name[0], name[1]) if isinstance(name, tuple) else "a local client"
