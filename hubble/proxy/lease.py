"""A worker's place among the others: its lease in the directory, and what it has in the runtime directory."""

from __future__ import annotations

import logging
from pathlib import Path

import gevent

from hubble.base.runtimedir import worker_socket
from hubble.directory import Directory, DirectoryError, Worker
from hubble.mesh.mesh import Mesh
from hubble.mesh.sockets import listen_on_path, remove_dead
from hubble.proxy.gateways.blocks import Blocks
from hubble.proxy.gateways.registry import Gateways

log = logging.getLogger(__name__)

RENEW_INTERVAL = 2.0
"""Seconds between a worker's signs of life in the directory."""


class Lease:
    """Keeps `directory` told of `me` and the `gateways` here, and makes again what others remove from `runtime_dir`.

    A program that cleans up temporary files may remove all of it, or a part, while the worker runs.
    """

    def __init__(
        self,
        me: Worker,
        directory: Directory,
        gateways: Gateways,
        blocks: Blocks,
        mesh: Mesh | None,
        runtime_dir: Path | None,
    ) -> None:
        self._me = me
        self._directory = directory
        self._gateways = gateways
        self._blocks = blocks
        self._mesh = mesh
        self._runtime_dir = runtime_dir

    def join(self) -> None:
        """Tell the directory of everything here. Raises DirectoryError."""
        for holder in self._directory.join(self._me, self._gateways.registrations()):
            self._gateways.taken(holder)

    def keep(self) -> None:
        """Renew the lease until killed."""
        while True:
            gevent.sleep(RENEW_INTERVAL)
            if self._runtime_dir is not None:
                self._restore(self._runtime_dir)
            try:
                if not self._directory.renew(self._me):
                    log.warning("the directory has lost what this worker told it: it tells it again")
                    self.join()
            except DirectoryError as error:
                log.error("%s", error)
            if self._runtime_dir is not None:
                self._tidy(self._runtime_dir)

    def _restore(self, runtime_dir: Path) -> None:
        """Make again what was removed; the renewal after it makes the directory's file again."""
        try:
            runtime_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = worker_socket(runtime_dir, self._me.id)
            if self._mesh is not None and not path.exists():
                self._mesh.replace_local(listen_on_path(path))
                log.warning("the socket %s was removed: it is there again", path)
        except OSError as error:
            log.warning("the runtime directory %s cannot be made again: %s", runtime_dir, error.strerror)
        self._blocks.keep()

    def _tidy(self, runtime_dir: Path) -> None:
        try:
            remove_dead(runtime_dir, {worker.id for worker in self._directory.workers()})
        except (DirectoryError, OSError) as error:  # what is left behind does no harm until there are descriptors again
            log.debug("dead workers' sockets stay: %s", error)
