"""The settings of a proxy that runs on several machines: a shared directory, and links between the machines."""

from __future__ import annotations

import logging
import socket
from dataclasses import dataclass, field

from hubble.base.errors import ListenError, UsageError
from hubble.directory import Directory
from hubble.directory.choose import open_directory
from hubble.mesh.tls import MeshTLS
from hubble.transport.addresses import Socket
from hubble.transport.endpoint import endpoint
from hubble.transport.listen import open_listener

log = logging.getLogger(__name__)

SHORTEST_SECRET = 16
PORTS = 100
"""The number of ports, starting at the advertised one, from which the workers of a machine choose."""


@dataclass(frozen=True)
class Cluster:
    """The cluster settings of a worker. Raises UsageError.

    directory: the URL of the Redis server, which may contain a password; None: no shared directory. node: this
    machine's name. host, port: the address at which other machines reach its workers; each worker takes the first free
    port from `port` on, or any if `port` is 0. secret: at least 16 bytes, the same on all machines. tls: None if the
    network between the machines is private.
    """

    directory: str | None = field(default=None, repr=False)
    node: str = ""
    host: str = ""
    port: int = 0
    secret: bytes = field(default=b"", repr=False)
    tls: MeshTLS | None = None

    def __post_init__(self) -> None:
        if self.directory is not None and not self.host:
            raise UsageError("--cluster needs the address of this machine: set --advertise HOST[:PORT]")
        if self.host and not self.secret:
            raise UsageError("--advertise needs the secret that all machines share: set --cluster-secret-file")
        if self.secret and len(self.secret) < SHORTEST_SECRET:
            raise UsageError(
                f"the cluster's secret is too short: it needs at least {SHORTEST_SECRET} bytes; "
                "create one with openssl rand -hex 32"
            )
        if self.port and not 0 < self.port <= 65535:
            raise UsageError(f"--advertise: port {self.port} is not between 1 and 65535")

    def open_directory(self) -> Directory:
        """Open the directory that the machines share. Raises UsageError."""
        assert self.directory is not None
        return open_directory(self.directory)

    def listen(self) -> tuple[Socket, str]:
        """Return a socket for the links of other machines, and the address to publish. Raises ListenError."""
        listener = self._first_free()
        return listener, f"tcp:{endpoint(self.host, listener.getsockname()[1])}"

    def _first_free(self) -> Socket:
        host = self.host if _is_here(self.host) else ""
        last = min(self.port + PORTS, 65536)
        for port in range(self.port, last) if self.port else (0,):
            try:
                return open_listener(host, port)
            except ListenError as error:
                log.debug("%s", error)
                failure = error
        raise ListenError(f"no free port for the links between machines: {failure}")


def _is_here(host: str) -> bool:
    """Return whether `host` is an address of this machine. A translated (NAT) address is not."""
    try:
        open_listener(host, 0).close()
    except ListenError:
        log.info("%s is not an address of this machine; accepting links of other machines on all addresses", host)
        return False
    return True


def default_node() -> str:
    """Return the machine's host name."""
    return socket.gethostname()
