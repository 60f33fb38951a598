"""One worker of hubble-proxy, which its supervisor has started and talks to over a channel."""

from __future__ import annotations

import logging
import os
import signal
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

import gevent
from gevent import socket
from gevent.lock import RLock

from hubble.base.errors import HubbleError, ProtocolError
from hubble.base.keepalive import keep_running
from hubble.cli import logs
from hubble.cli.eventloop import keep_buffers, spare_the_collector, tell_greenlets_on_signal
from hubble.cli.proxy_arguments import parser
from hubble.cli.running import FAILURE
from hubble.policy import set_digest_secret
from hubble.proxy.proxy import Proxy
from hubble.supervisor.channel import (
    BEAT_INTERVAL,
    LARGEST,
    Beat,
    Drain,
    Failed,
    Message,
    Ready,
    Reload,
    Reloaded,
    Start,
    Stop,
    decode,
    encode,
)
from hubble.supervisor.load import Load, LoadTable
from hubble.transport import resolver
from hubble.worker.cluster_options import cluster
from hubble.worker.policy_options import policy
from hubble.worker.proxy_options import proxy_options
from hubble.worker.watching import attach_watchers

log = logging.getLogger(__name__)


class Channel:
    """The worker's end. Whatever becomes of the supervisor, nothing here raises because of it."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._sending = RLock()

    def send(self, message: Message) -> None:
        """Tell the supervisor something; if it is gone, `receive` says so."""
        with self._sending:
            try:
                self._socket.send(encode(message))
            except OSError as error:
                log.debug("the supervisor was not told: %s", error)

    def receive(self) -> Message | None:
        """Wait for what the supervisor says; None if it is gone. Raises ProtocolError."""
        try:
            packet = self._socket.recv(LARGEST)
        except OSError:
            return None
        return decode(packet) if packet else None


def main(descriptor: int, arguments: Sequence[str]) -> int:
    """Work until told to end; the exit status."""
    options = parser().parse_args(arguments)
    channel = Channel(descriptor)
    try:
        start = channel.receive()
    except ProtocolError:
        channel.send(
            Failed("the program's files are of another version than the supervisor: start a successor", FAILURE)
        )
        return FAILURE
    if not isinstance(start, Start):
        return FAILURE
    for inherited in (descriptor, start.listener, start.load, start.admin):
        if inherited is not None:
            os.set_inheritable(inherited, False)  # what a policy starts must not keep the listener, or hear the channel
    logs.set_up(options.log_level, options.log_format, worker=start.number)
    if start.digests:  # else a supervisor of an earlier version has started this
        set_digest_secret(bytes.fromhex(start.digests))
    try:
        worker = _Worker(options, channel, start)
    except HubbleError as error:
        channel.send(Failed(str(error), error.status))
        return error.status
    except OSError as error:  # of the runtime directory, most likely
        channel.send(Failed(f"a worker cannot start: {error}", FAILURE))
        return FAILURE
    worker.work()
    return 0


class _Worker:
    """A proxy on what the supervisor has bound. Raises HubbleError if it cannot start."""

    def __init__(self, options: Namespace, channel: Channel, start: Start) -> None:
        self._channel = channel
        self._drain = options.drain
        self._proxy = proxy = Proxy(
            options.listen,
            policy(options, Path(start.runtime_dir)),
            options=proxy_options(options, start.workers),
            listener=socket.socket(fileno=start.listener),
            runtime_dir=Path(start.runtime_dir),
            cluster=cluster(options),
            load=Load(LoadTable(start.workers, start.load), start.number) if start.workers > 1 else None,
        )
        admin = socket.socket(fileno=start.admin) if start.admin is not None else None
        attach_watchers(proxy, options, admin, start.token, lambda seconds: channel.send(Drain(seconds)))
        spare_the_collector()
        keep_buffers()
        resolver.install()
        proxy.start()

    def work(self) -> None:
        """Serve, and heed the supervisor, and signals that were sent to this process alone."""
        gevent.signal_handler(signal.SIGTERM, self._end, self._drain)
        gevent.signal_handler(signal.SIGHUP, gevent.spawn, self._reload)
        tell_greenlets_on_signal()
        self._channel.send(Ready())
        keepers = [
            keep_running("the heartbeat", self._beat),
            keep_running("heeding the supervisor", self._handle),
        ]
        self._proxy.wait()
        gevent.killall(keepers)

    def _beat(self) -> None:
        while True:
            gevent.sleep(BEAT_INTERVAL)
            self._channel.send(Beat())

    def _handle(self) -> None:
        while True:
            match self._channel.receive():
                case Reload():
                    gevent.spawn(self._reload)
                case Drain(seconds, replaced):
                    self._end(seconds, replaced)
                case Stop():
                    self._end(None)
                case None:
                    log.error("the supervisor is gone: this worker ends too")
                    self._end(None)
                    return

    def _reload(self) -> None:
        self._channel.send(Reloaded(self._proxy.try_to_reload()))

    def _end(self, drain: float | None, replaced: bool = False) -> None:
        if drain is None:
            gevent.spawn(self._proxy.stop)
        else:
            gevent.spawn(self._proxy.drain, drain, replaced=replaced)
