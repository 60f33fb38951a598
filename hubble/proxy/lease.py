"""A worker's lease in the directory, and its files in the runtime directory."""

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
"""Seconds between two renewals of a worker's lease."""


class Lease:
    """Keeps `me` and its `gateways` registered in `directory`, and restores files removed from `runtime_dir`.

    A program that cleans up temporary files may remove the directory, or part of it, while the worker runs.
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
        """Register this worker and its gateways in the directory. Raises DirectoryError."""
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
                    log.warning("the directory lost this worker's entries; registering them again")
                    self.join()
            except DirectoryError as error:
                log.error("%s", error)
            if self._runtime_dir is not None:
                self._tidy(self._runtime_dir)

    def _restore(self, runtime_dir: Path) -> None:
        """Recreate removed files; the renewal that follows recreates the directory's own file."""
        try:
            runtime_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = worker_socket(runtime_dir, self._me.id)
            if self._mesh is not None and not path.exists():
                self._mesh.replace_local(listen_on_path(path))
                log.warning("the socket %s was removed; created it again", path)
        except OSError as error:
            log.warning("cannot recreate the runtime directory %s: %s", runtime_dir, error.strerror)
        self._blocks.keep()

    def _tidy(self, runtime_dir: Path) -> None:
        try:
            remove_dead(runtime_dir, {worker.id for worker in self._directory.workers()})
        except (DirectoryError, OSError) as error:  # stale sockets are harmless until the next attempt
            log.debug("cannot remove the sockets of dead workers: %s", error)
