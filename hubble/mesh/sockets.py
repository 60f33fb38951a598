"""The sockets between workers: Unix sockets on one machine, TCP between machines."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import gevent
from gevent import socket

from hubble.base.errors import DialError
from hubble.base.runtimedir import listen_at, worker_sockets
from hubble.directory import Worker
from hubble.transport.addresses import Socket, set_tcp_options

BACKLOG = 128


def listen_on_path(path: Path) -> Socket:
    """Return a socket that listens at `path`. The file appears once it listens, so no connection is ever refused."""
    listener: Socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listen_at(listener, path, BACKLOG)
    return listener


def remove_dead(directory: Path, living: Collection[str]) -> None:
    """Remove the socket files of killed workers, at which no process listens; keep those of `living` workers.

    Raises OSError if the directory cannot be read.
    """
    for path, worker_id in worker_sockets(directory):
        if worker_id in living:
            continue
        try:
            _connect_to_path(str(path), 0.5).close()
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
        except OSError:
            continue  # removed meanwhile, or its worker is slow


def connect(worker: Worker, node: str, timeout: float) -> Socket:
    """Connect to a worker from the machine `node`: by Unix socket on the same machine, else by TCP.

    Raises ConnectionRefusedError or FileNotFoundError if no process listens there, another OSError, or DialError.
    """
    path = worker.address.removeprefix("unix:")
    if path and worker.node == node and (not worker.remote or Path(path).exists()):
        return _connect_to_path(path, timeout)
    if not worker.remote:
        raise DialError(f"the worker is on another machine, {worker.node}, and has no address for other machines")
    host, _, port = worker.remote.removeprefix("tcp:").rpartition(":")
    with gevent.Timeout(timeout, DialError(f"no answer from {worker.remote} within {timeout:g} s")):
        sock: Socket = socket.create_connection((host.strip("[]"), int(port)))
    set_tcp_options(sock)
    return sock


def _connect_to_path(path: str, timeout: float) -> Socket:
    sock: Socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(timeout)
        sock.connect(path)
        sock.settimeout(None)
    except BaseException:
        sock.close()
        raise
    return sock
