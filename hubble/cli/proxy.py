"""hubble-proxy: the process that the user starts. It binds the listeners and supervises the workers."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from hubble.admin.access import Access
from hubble.base.errors import HubbleError, ListenError, UsageError
from hubble.base.runtimedir import ADMIN, RuntimeDir, default_directory
from hubble.cli import logs
from hubble.cli.admin_options import admin_listen, admin_socket, admin_token
from hubble.cli.proxy_arguments import PROGRAM, lacks_policy, parser
from hubble.cli.running import run, write_ports
from hubble.supervisor.process import Program
from hubble.supervisor.supervisor import Supervisor
from hubble.supervisor.takeover import Handover, Successor
from hubble.transport.bind import bind_listener, bind_patiently, parse_listen
from hubble.transport.endpoint import endpoint

log = logging.getLogger(__name__)

WORKER = (sys.executable, "-P", str(Path(__file__).parents[1] / "worker" / "start.py"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the proxy. Return the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    options = parser().parse_args(given)
    for number in (signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)  # until workers can handle them
    logs.set_up(options.log_level, options.log_format)
    return run(PROGRAM, lambda: _Server(options, given).serve())


class _Server:
    """One proxy on this machine, from binding or taking over its listeners to its end."""

    def __init__(self, options: Namespace, arguments: Sequence[str]) -> None:
        if lacks_policy(options):
            log.warning("no policy is set: every session is granted; give -authgrant to do so without this warning")
        self._options = options
        self._program = Program(WORKER, arguments)
        self._successor: Successor | None = None
        host, port = parse_listen(options.listen)
        listener = None
        if port == 0 and not options.takeover:
            listener = bind_listener(host, port, listen=False)
            port = listener.getsockname()[1]
        self._directory = RuntimeDir(
            Path(options.runtime_dir) if options.runtime_dir else default_directory(host, port)
        )
        try:
            self._handover = self._find_handover(host, port, listener)
        except HubbleError:
            self._directory.leave()
            raise

    def serve(self) -> None:
        """Serve until the proxy is stopped. Raises BootError."""
        count = self._options.workers or len(os.sched_getaffinity(0))
        control = self._directory.control
        try:
            supervisor = Supervisor(
                self._program,
                count,
                self._handover,
                control,
                drain=self._options.drain,
                whole=self._successor is not None,
            )
            supervisor.run(self._publish, self._ready, self._restore)
        finally:
            self._directory.leave()

    def _publish(self) -> None:
        """Write the addresses to the runtime directory and the ports file once all workers serve. Raises UsageError."""
        ports = {"listen": _address(self._handover.listener)}
        access = self._access()
        if access is not None:
            access.write(self._directory.path)
            ports["admin"] = access.address
        else:
            Access.forget(self._directory.path)
        write_ports(self._options.ports_file, ports)

    def _restore(self) -> None:
        """Restore files that were removed from the runtime directory. Raises OSError, UsageError."""
        try:
            if self._directory.restore():
                log.warning("recreated the runtime directory %s, which was removed", self._directory.path)
        except BlockingIOError:
            raise UsageError("another proxy has it now: give each a --runtime-dir of its own") from None
        access = self._access()
        if access is not None and not (self._directory.path / ADMIN).exists():
            access.write(self._directory.path)

    def _ready(self) -> None:
        """Replace the predecessor, if there is one, and log the addresses: the start can no longer fail."""
        if self._successor is not None:
            self._successor.serve()
        access = self._access()
        if access is not None and not self._options.admin_token_file:
            logs.say(f"dashboard: http://{access.address}/#token={access.token}", logging.INFO)
        scheme = "https" if self._options.tls_cert else "http"
        log.info("listening on %s://%s", scheme, _address(self._handover.listener))

    def _access(self) -> Access | None:
        admin = self._handover.admin_listener
        return Access(_address(admin), self._handover.token) if admin is not None else None

    def _find_handover(self, host: str, port: int, listener: socket.socket | None) -> Handover:
        """Return a new handover, or the one of the running proxy. Raises ListenError, TakeoverFailed, UsageError."""
        if self._directory.lock():
            self._directory.clean()
            return self._new_handover(host, listener or self._bound(host, port))
        if self._options.takeover:
            return self._inherited_handover()
        raise ListenError(
            f"a proxy already runs with the runtime directory {self._directory.path}; give --takeover to replace it, "
            "or another --runtime-dir to run a second proxy"
        )

    def _bound(self, host: str, port: int) -> socket.socket:
        """Return a bound socket where no proxy can be taken over. Raises ListenError."""
        try:
            return bind_patiently(host, port, listen=False)
        except ListenError as error:
            if not self._options.takeover:
                raise
            raise ListenError(f"{error}, and no proxy runs with the runtime directory {self._directory.path}") from None

    def _new_handover(self, host: str, listener: socket.socket) -> Handover:
        options = self._options
        listen, lock = endpoint(host, listener.getsockname()[1]), self._directory.lock_descriptor
        return Handover(listen, listener, lock, admin_listen(options), admin_socket(options), admin_token(options))

    def _inherited_handover(self) -> Handover:
        """Return the handover of the running proxy. Raises TakeoverFailed, UsageError, ListenError."""
        options = self._options
        self._successor = Successor(self._directory.control)
        old = self._successor.handover
        self._directory.share_lock(old.lock)
        host, port = parse_listen(options.listen)
        if old.listen != endpoint(host, port or old.listener.getsockname()[1]):
            raise UsageError(f"the running proxy listens on {old.listen}, not on {options.listen}; change -listen")
        wanted, admin = admin_listen(options), old.admin_listener
        if admin is None or old.admin != wanted:
            if admin is not None:
                admin.close()  # otherwise its clients would wait forever once the old proxy has ended
            admin = admin_socket(options)
        return Handover(old.listen, old.listener, old.lock, wanted, admin, admin_token(options, old.token))


def _address(listener: socket.socket) -> str:
    return endpoint(*listener.getsockname()[:2])
