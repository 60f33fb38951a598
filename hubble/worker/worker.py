"""One worker of hubble-proxy. Its supervisor starts it and talks to it over a channel."""

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
from hubble.cli.eventloop import keep_buffers, log_greenlets_on_signal, spare_the_collector
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
from hubble.transport.link import queued_in_process
from hubble.worker.cluster_options import cluster
from hubble.worker.policy_options import policy
from hubble.worker.proxy_options import proxy_options
from hubble.worker.watching import attach_watchers

log = logging.getLogger(__name__)


class Channel:
    """The worker's end of the channel. The loss of the supervisor raises no exception here."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._sending = RLock()

    def send(self, message: Message) -> None:
        """Send a message to the supervisor. If it has ended, `receive` returns None."""
        with self._sending:
            try:
                self._socket.send(encode(message))
            except OSError as error:
                log.debug("cannot send to the supervisor: %s", error)

    def receive(self) -> Message | None:
        """Wait for the supervisor's next message; return None if it has ended. Raises ProtocolError."""
        try:
            packet = self._socket.recv(LARGEST)
        except OSError:
            return None
        return decode(packet) if packet else None


def main(descriptor: int, arguments: Sequence[str]) -> int:
    """Run the worker until the supervisor ends it; return the exit status."""
    options = parser().parse_args(arguments)
    channel = Channel(descriptor)
    try:
        start = channel.receive()
    except ProtocolError:
        channel.send(
            Failed(
                "the installed files are of another version than the running supervisor; upgrade with --takeover",
                FAILURE,
            )
        )
        return FAILURE
    if not isinstance(start, Start):
        return FAILURE
    for inherited in (descriptor, start.listener, start.load, start.admin):
        if inherited is not None:
            os.set_inheritable(inherited, False)  # a policy's child process must not keep the listener or the channel
    logs.set_up(options.log_level, options.log_format, worker=start.number)
    if start.digests:  # supervisors of earlier versions send none
        set_digest_secret(bytes.fromhex(start.digests))
    try:
        worker = _Worker(options, channel, start)
    except HubbleError as error:
        channel.send(Failed(str(error), error.status))
        return error.status
    except OSError as error:  # most likely from the runtime directory
        channel.send(Failed(f"cannot start a worker: {error}", FAILURE))
        return FAILURE
    worker.work()
    return 0


class _Worker:
    """A proxy on the supervisor's listeners. Raises HubbleError if it cannot start."""

    def __init__(self, options: Namespace, channel: Channel, start: Start) -> None:
        self._channel = channel
        self._drain = options.drain
        queued_in_process.most = options.max_queued
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
        """Serve, and handle the supervisor's messages and the signals sent to this process alone."""
        gevent.signal_handler(signal.SIGTERM, self._end, self._drain)
        gevent.signal_handler(signal.SIGHUP, gevent.spawn, self._reload)
        log_greenlets_on_signal()
        self._channel.send(Ready())
        keepers = [
            keep_running("the heartbeat", self._beat),
            keep_running("handling the supervisor's messages", self._handle),
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
                    log.error("the supervisor has ended; this worker stops")
                    self._end(None)
                    return

    def _reload(self) -> None:
        self._channel.send(Reloaded(self._proxy.try_to_reload()))

    def _end(self, drain: float | None, replaced: bool = False) -> None:
        if drain is None:
            gevent.spawn(self._proxy.stop)
        else:
            gevent.spawn(self._proxy.drain, drain, replaced=replaced)
