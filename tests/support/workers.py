"""Workers of one proxy, all in this process: each with its own directory object, mesh and links."""

from __future__ import annotations

from pathlib import Path

from hubble.base.errors import LinkClosed
from hubble.directory import Worker
from hubble.directory.sqlite import SQLiteDirectory
from hubble.mesh.mesh import Mesh, Read
from hubble.mesh.peer import WorkerPeer
from hubble.mesh.sockets import listen_on_path
from hubble.mesh.tls import MeshTLS
from hubble.transport.addresses import Socket
from hubble.transport.link import Keepalive
from hubble.transport.listen import open_listener

SECRET = b"a secret of sixteen bytes or more"


class Peer:
    """A worker's part in the mesh alone. `peers` are those that run here, dialled or accepted."""

    def __init__(
        self,
        directory: Path,
        name: str,
        *,
        node: str = "",
        secret: bytes = b"",
        tls: MeshTLS | None = None,
        keepalive: Keepalive | None = None,
        remote: Socket | None = None,
        advertise: int = 0,
    ) -> None:
        self.path = directory / f"{name}.sock"
        self.tcp = remote
        port = advertise or (remote.getsockname()[1] if remote else 0)
        self.worker = Worker(name, f"unix:{self.path}", node, f"tcp:127.0.0.1:{port}" if port else "")
        self.directory = SQLiteDirectory(directory / "directory.sqlite")
        self.peers: list[WorkerPeer] = []
        self.got: list[bytes] = []
        settings = {"keepalive": keepalive} if keepalive else {}
        self.mesh = Mesh(self.worker, self.directory, self._serve, secret=secret, tls=tls, **settings)
        self.mesh.methods["name"] = lambda arguments: {"worker": name, **arguments}
        self.mesh.start(*([listen_on_path(self.path)] + ([remote] if remote else [])))
        self.directory.join(self.worker)

    def _serve(self, peer: WorkerPeer, read: Read) -> None:
        self.peers.append(peer)
        try:
            read(self.got.append)
        except LinkClosed:
            self.peers.remove(peer)
            raise

    def stop(self) -> None:
        self.mesh.stop()
        self.directory.close()


def tcp_listener() -> Socket:
    return open_listener("127.0.0.1", 0)
