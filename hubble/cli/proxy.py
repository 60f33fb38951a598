"""hubble-proxy: the process that the user starts. It binds, and keeps the workers (hubble/supervisor)."""

from __future__ import annotations

import logging
import os
import socket
import sys
import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from hubble.cli import logs
from hubble.cli.admin_options import admin_socket, admin_token
from hubble.cli.proxy_arguments import PROGRAM, is_unpoliced, parser
from hubble.cli.running import run, write_ports
from hubble.errors import ListenError, UsageError
from hubble.proxy.admin.access import Access
from hubble.supervisor.process import Program
from hubble.supervisor.runtime import RuntimeDir, default_directory
from hubble.supervisor.supervisor import Supervisor
from hubble.supervisor.takeover import Estate, Heir
from hubble.transport.bind import bind_listener, parse_listen
from hubble.transport.endpoint import endpoint

log = logging.getLogger(__name__)

WORKER = (sys.executable, "-P", str(Path(__file__).with_name("start_worker.py")))
BIND_TIMEOUT = 3.0
"""Seconds that the workers of a proxy that was killed may take to let go of its address."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the proxy; the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    options = parser().parse_args(given)
    logs.set_up(options.log_level, options.log_format)
    return run(PROGRAM, lambda: _Server(options, given).serve())


class _Server:
    """One proxy of this machine: from its listeners, bound or taken over, to its end."""

    def __init__(self, options: Namespace, arguments: Sequence[str]) -> None:
        if is_unpoliced(options):
            log.warning("no policy was given: every session is granted (-authgrant says so without this warning)")
        self._options = options
        self._program = Program(WORKER, arguments)
        self._heir: Heir | None = None
        host, port = parse_listen(options.listen)
        listener = None
        if port == 0 and not options.takeover:
            listener = bind_listener(host, port)
            port = listener.getsockname()[1]
        self._directory = RuntimeDir(
            Path(options.runtime_dir) if options.runtime_dir else default_directory(host, port)
        )
        self._owns_directory = self._directory.lock()
        if self._owns_directory:
            patience = BIND_TIMEOUT if self._directory.was_left else 0
            self._directory.clean()
            self._estate = self._new_estate(host, listener or _bind(host, port, patience))
        elif options.takeover:
            self._estate = self._inherited_estate()
        else:
            raise ListenError(
                f"a proxy runs already with the runtime directory {self._directory.path}: --takeover would replace it, "
                "and with another --runtime-dir this one would be a proxy of its own"
            )

    def serve(self) -> None:
        """Until it is told to end. Raises BootError."""
        count = self._options.workers or len(os.sched_getaffinity(0))
        control = self._directory.control
        supervisor = Supervisor(self._program, count, self._estate, control, drain=self._options.drain)
        try:
            supervisor.run(on_ready=self._ready)
        finally:
            if self._owns_directory and not supervisor.taken_over:
                self._directory.remove()

    def _ready(self) -> None:
        """All workers serve."""
        if self._heir is not None:
            self._heir.serve()
            self._owns_directory = True
        address = endpoint(*self._estate.listener.getsockname()[:2])
        ports = {"listen": address}
        if self._estate.admin_listener is not None:
            access = Access(endpoint(*self._estate.admin_listener.getsockname()[:2]), self._estate.token)
            access.write(self._directory.path)
            ports["admin"] = access.address
            if not self._options.admin_token_file:
                print(f"dashboard: http://{access.address}/#token={access.token}", file=sys.stderr, flush=True)
        write_ports(self._options.ports_file, ports)
        log.info("listening on %s://%s", "https" if self._options.tls_cert else "http", address)

    def _new_estate(self, host: str, listener: socket.socket) -> Estate:
        options = self._options
        listen, lock = endpoint(host, listener.getsockname()[1]), self._directory.lock_descriptor
        return Estate(listen, listener, lock, options.admin or "", admin_socket(options), admin_token(options))

    def _inherited_estate(self) -> Estate:
        """What the proxy that runs there hands over. Raises TakeoverFailed, UsageError, ListenError."""
        options = self._options
        self._heir = Heir(self._directory.control)
        old = self._heir.estate
        host, port = parse_listen(options.listen)
        if old.listen != endpoint(host, port or old.listener.getsockname()[1]):
            raise UsageError(f"the proxy that runs was told to listen on {old.listen}, and not on {options.listen}")
        same_admin = old.admin_listener is not None and old.admin == (options.admin or "")
        admin = old.admin_listener if same_admin else admin_socket(options)
        return Estate(old.listen, old.listener, old.lock, options.admin or "", admin, admin_token(options, old.token))


def _bind(host: str, port: int, patience: float) -> socket.socket:
    """A listener, at the latest after `patience` seconds. Raises ListenError."""
    deadline = time.monotonic() + patience
    while True:
        try:
            return bind_listener(host, port)
        except ListenError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.05)
