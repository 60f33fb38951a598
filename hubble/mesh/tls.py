"""Mutual TLS on the links between machines. Workers of one machine use Unix sockets, which need no TLS."""

from __future__ import annotations

from gevent import socket

from hubble.transport.addresses import Socket, deadline
from hubble.transport.serve.servertls import ServerTLS
from hubble.transport.tls import TLSOptions, client_context, wrap

HANDSHAKE_TIMEOUT = 3.0


class MeshTLS:
    """Mutual TLS: both ends present a certificate of the authority in `ca_file`, which must issue only to the cluster.

    Host names are not checked, because the directory gives the addresses of machines. Changed files are read again.
    Raises UsageError if a file is unusable.
    """

    def __init__(self, cert_file: str, key_file: str | None, ca_file: str) -> None:
        self._server = ServerTLS(cert_file, key_file, ca_file, require_client=True, handshake_timeout=HANDSHAKE_TIMEOUT)
        self._options = TLSOptions(ca_file=ca_file, cert_file=cert_file, key_file=key_file)
        client_context(self._options)

    def accept(self, sock: Socket) -> Socket:
        """Complete the TLS handshake as the listener. A failure ends the greenlet."""
        return sock if sock.family == socket.AF_UNIX else self._server.wrap_socket(sock)

    def dial(self, sock: Socket) -> Socket:
        """Complete the TLS handshake as the dialler. Raises DialError, or UsageError if a file is now unusable."""
        if sock.family == socket.AF_UNIX:
            return sock
        context = client_context(self._options)
        context.check_hostname = False
        with deadline(HANDSHAKE_TIMEOUT, f"no TLS handshake within {HANDSHAKE_TIMEOUT:g} s"):
            return wrap(sock, sock.getpeername()[0], context)
