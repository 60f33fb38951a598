"""Mutual TLS on the links between machines. On one machine workers meet at Unix sockets, which need none."""

from __future__ import annotations

from gevent import socket

from hubble.transport.addresses import Socket, deadline
from hubble.transport.serve.servertls import ServerTLS
from hubble.transport.tls import TLSOptions, client_context, wrap

HANDSHAKE_TIMEOUT = 3.0


class MeshTLS:
    """Both ends show a certificate of the authority in `ca_file`, which issues to the cluster's machines and no others.

    That is what is checked, and no name: machines are found by their addresses in the directory. Files that have
    changed are read again. Raises UsageError for unusable files.
    """

    def __init__(self, cert_file: str, key_file: str | None, ca_file: str) -> None:
        self._server = ServerTLS(cert_file, key_file, ca_file, require_client=True, handshake_timeout=HANDSHAKE_TIMEOUT)
        self._options = TLSOptions(ca_file=ca_file, cert_file=cert_file, key_file=key_file)
        client_context(self._options)

    def accept(self, sock: Socket) -> Socket:
        """TLS with who has dialled; ends the greenlet if that fails."""
        return sock if sock.family == socket.AF_UNIX else self._server.wrap_socket(sock)

    def dial(self, sock: Socket) -> Socket:
        """TLS with who was dialled. Raises DialError, or UsageError for files that have become unusable."""
        if sock.family == socket.AF_UNIX:
            return sock
        context = client_context(self._options)
        context.check_hostname = False
        with deadline(HANDSHAKE_TIMEOUT, f"no TLS handshake within {HANDSHAKE_TIMEOUT:g} s"):
            return wrap(sock, sock.getpeername()[0], context)
