"""The links between workers. A session whose two agents are at different workers crosses exactly one such link.

A worker dials another when it first needs it, and keeps the link. Either side may open sessions over the link to
gateways of the other. A worker never forwards messages from one worker to a third.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import gevent
from gevent import socket
from gevent.event import AsyncResult
from gevent.server import StreamServer
from websockets.protocol import Side

from hubble.base.errors import HubbleError, LinkClosed, ProtocolError
from hubble.base.keyedlock import KeyedLock
from hubble.directory import Directory, DirectoryError, Worker
from hubble.mesh import messages as wire
from hubble.mesh.messages import Call, Hello, Reply
from hubble.mesh.peer import WorkerPeer
from hubble.mesh.sockets import connect
from hubble.mesh.tls import MeshTLS
from hubble.transport.addresses import Socket
from hubble.transport.link import FIRST_MESSAGE, Keepalive, Link
from hubble.transport.reader import Handle

log = logging.getLogger(__name__)

HELLO_TIMEOUT = 3.0
CALL_TIMEOUT = 10.0
HOLD_OFF = 3.0
"""Seconds for which an unreachable worker is not dialled again. Calls to it fail at once meanwhile."""
KEEPALIVE = Keepalive(3.0, 9.0)
"""The network between workers is fast, so a link that is silent for this long counts as dead."""
MOST_STRANGERS = 100
"""Concurrent incoming links that have not proved yet that they know the secret."""

Read = Callable[[Handle], None]
"""Hands each message of a link to a handle until the link has ended, as `Link.serve` does."""
Serve = Callable[[WorkerPeer, Read], None]
"""Serves another worker until its link ends. The mesh's own messages are removed before."""
Methods = dict[str, Callable[[dict[str, Any]], Any]]


class WorkerUnreachable(HubbleError):
    """Another worker is unreachable, or has not answered."""


class WorkerGone(WorkerUnreachable):
    """Another worker is certainly dead: its address refuses connections, or another worker listens there."""


class Mesh:
    """This worker's links to the others. `methods` are the functions that the others may call here."""

    def __init__(
        self,
        me: Worker,
        directory: Directory,
        serve: Serve,
        *,
        secret: bytes = b"",
        tls: MeshTLS | None = None,
        keepalive: Keepalive = KEEPALIVE,
    ) -> None:
        self.me = me
        self.methods: Methods = {}
        self._directory = directory
        self._serve = serve
        self._secret = secret
        self._tls = tls
        self._keepalive = keepalive
        directory.is_linked = self.is_linked
        self._served: set[WorkerPeer] = set()
        self._peers: dict[str, WorkerPeer] = {}
        self._dialling = KeyedLock()
        self._unreachable: dict[str, float] = {}
        self._calls: dict[int, tuple[WorkerPeer, AsyncResult[Any]]] = {}
        self._numbers = 0
        self._servers: list[StreamServer] = []
        self._links: set[Link] = set()
        self._strangers = 0

    def start(self, *listeners: Socket) -> None:
        """Accept the links of other workers."""
        for listener in listeners:
            server = StreamServer(listener, self._accept)
            self._servers.append(server)
            server.start()

    def replace_local(self, listener: Socket) -> None:
        """Accept links on this Unix socket instead of the one whose file was removed."""
        for server in [each for each in self._servers if each.socket.family == socket.AF_UNIX]:
            self._servers.remove(server)
            server.close()
        self.start(listener)

    def stop(self) -> None:
        """Stop accepting, and close all links."""
        for server in self._servers:
            server.close()
        for link in list(self._links):
            link.close(1001, "the worker is shutting down")

    def peer(self, worker_id: str) -> WorkerPeer:
        """Return another worker, dialling it if necessary. Raises WorkerUnreachable."""
        with self._dialling.hold(worker_id):
            peer = self._peers.get(worker_id)
            return peer if peer is not None and not peer.link.closed else self._dial(worker_id)

    def call(self, worker_id: str, method: str, *, timeout: float = CALL_TIMEOUT, **arguments: Any) -> Any:
        """Call `method` at a worker, which may be this one; return its result. Raises WorkerUnreachable."""
        if worker_id == self.me.id:
            return self.methods[method](arguments)
        peer = self.peer(worker_id)
        self._numbers += 1
        number = self._numbers
        answer: AsyncResult[Any] = AsyncResult()
        self._calls[number] = peer, answer
        try:
            peer.link.send(wire.encode(Call(number, method, arguments)))
            return answer.get(timeout=0 if peer.link.closed else timeout)
        except gevent.Timeout:
            raise WorkerUnreachable(f"worker {worker_id} has not answered the call of {method}") from None
        finally:
            del self._calls[number]

    def call_all(
        self, method: str, *, timeout: float = CALL_TIMEOUT, node: str | None = None, **arguments: Any
    ) -> dict[str, Any]:
        """Call `method` at every worker, or at every worker of the machine `node`, including this worker.

        Return the results by worker id; workers that do not answer are left out.
        """
        asked = {
            worker.id: gevent.spawn(self._try_call, worker.id, method, timeout, arguments)
            for worker in self._directory.workers()
            if node is None or worker.node == node
        }
        gevent.joinall(asked.values())
        return {worker_id: greenlet.value for worker_id, greenlet in asked.items() if greenlet.value is not None}

    def _try_call(self, worker_id: str, method: str, timeout: float, arguments: dict[str, Any]) -> Any:
        try:
            return self.call(worker_id, method, timeout=timeout, **arguments)
        except WorkerUnreachable as error:
            log.debug("%s", error)
            return None

    # Links.

    def _dial(self, worker_id: str) -> WorkerPeer:
        if time.monotonic() < self._unreachable.get(worker_id, 0.0):
            raise WorkerUnreachable(f"worker {worker_id} was unreachable less than {HOLD_OFF:g} s ago")
        worker = self._worker(worker_id)
        try:
            peer = self._dial_at(worker)
        except (HubbleError, OSError) as error:
            log.warning("worker %s is unreachable: %s", worker_id, error)
            self._handle_unreachable(worker, error)
            raise WorkerUnreachable(f"worker {worker_id} is unreachable: {error}") from error
        self._peers[worker_id] = peer
        gevent.spawn(self._run, peer)
        return peer

    def _worker(self, worker_id: str) -> Worker:
        try:
            worker = self._directory.worker(worker_id)
        except DirectoryError as error:
            raise WorkerUnreachable(f"cannot look up worker {worker_id}: {error}") from error
        if worker is None:
            self._leave(worker_id)  # releases names that it may have left behind
            raise WorkerUnreachable(f"worker {worker_id} is not in the directory")
        return worker

    def _dial_at(self, worker: Worker) -> WorkerPeer:
        try:
            sock = connect(worker, self.me.node, HELLO_TIMEOUT)
        except (ConnectionRefusedError, FileNotFoundError) as error:
            raise WorkerGone(f"no process listens at its address ({error.strerror})") from error
        link = self._link(self._tls.dial(sock) if self._tls else sock, Side.CLIENT)
        try:
            self._greet(link, worker.id)
            return WorkerPeer.at(link, worker.id)
        except BaseException:
            self._drop(link, "not the expected worker")
            raise

    def _handle_unreachable(self, worker: Worker, error: Exception) -> None:
        """Remove a dead worker from the directory, or hold off from dialling it again.

        A worker of this machine that does not answer counts as dead. A worker of another machine may be unreachable
        only from here, so it counts as dead only if that is certain; otherwise its lease expires if it is dead.
        """
        now = time.monotonic()
        self._unreachable = {one: until for one, until in self._unreachable.items() if until > now}
        if isinstance(error, WorkerGone) or (worker.node == self.me.node and not isinstance(error, ProtocolError)):
            self._leave(worker.id)
        else:
            self._unreachable[worker.id] = now + HOLD_OFF

    def _leave(self, worker_id: str) -> None:
        try:
            self._directory.leave(worker_id)
        except DirectoryError as error:
            log.warning("cannot remove worker %s from the directory: %s", worker_id, error)

    def _accept(self, sock: Socket, address: object) -> None:
        if self._strangers >= MOST_STRANGERS:
            log.warning("refused a worker's link: %d other links have not identified themselves yet", self._strangers)
            sock.close()
            return
        self._strangers += 1
        try:
            link = self._link(self._tls.accept(sock) if self._tls else sock, Side.SERVER)
            worker_id = self._answer(link)
        except HubbleError as error:
            level = logging.DEBUG if isinstance(error, LinkClosed) else logging.WARNING  # the peer closed the link
            log.log(level, "refused a link that is not a worker's: %s", error)
            self._drop(link, "not a worker's link")
            return
        finally:
            self._strangers -= 1
        self._run(WorkerPeer.at(link, worker_id))

    def _link(self, sock: Socket, side: Side) -> Link:
        link = Link(sock, side, masked=False, first_limit=FIRST_MESSAGE, keepalive=self._keepalive)
        self._links.add(link)
        return link

    def _drop(self, link: Link, why: str) -> None:
        link.abort(why)
        self._links.discard(link)

    def is_linked(self, worker_id: str) -> bool:
        """Return whether there is a live link to another worker, dialled by either side."""
        return any(peer.worker == worker_id and not peer.link.closed for peer in self._served)

    def _run(self, peer: WorkerPeer) -> None:
        self._served.add(peer)
        try:
            self._serve(peer, lambda handle: peer.link.serve(partial(self._sort, peer, handle)))
        except (LinkClosed, ProtocolError) as error:
            log.debug("link to %s ended: %s", peer.name, error)
        finally:
            self._served.discard(peer)
            self._drop(peer.link, "the link between the workers has ended")
            self._peers = {worker_id: other for worker_id, other in self._peers.items() if other is not peer}
            for asked, answer in list(self._calls.values()):
                if asked is peer:
                    answer.set_exception(WorkerUnreachable(f"the link to {peer.name} was lost"))

    # The handshake.

    def _greet(self, link: Link, worker_id: str) -> None:
        """Complete the handshake as the dialler. Raises ProtocolError, LinkClosed, or WorkerUnreachable."""
        mine = Hello(self.me.id, secrets.token_hex(32))
        link.send(wire.encode(mine))
        theirs = _expect_hello(link)
        if not wire.is_proved(self._secret, theirs, mine, dialled=False):
            raise ProtocolError("the peer does not know the cluster's secret")
        if theirs.worker != worker_id:
            raise WorkerGone(f"worker {theirs.worker} now listens at its address")
        proved = wire.proof(self._secret, mine, theirs, dialled=True)
        link.send(wire.encode(Hello(mine.worker, mine.challenge, proved)))

    def _answer(self, link: Link) -> str:
        """Complete the handshake as the listener; return the peer's id. Raises as `_greet`."""
        theirs = _expect_hello(link)
        mine = Hello(self.me.id, secrets.token_hex(32))
        proved = wire.proof(self._secret, mine, theirs, dialled=False)
        link.send(wire.encode(Hello(mine.worker, mine.challenge, proved)))
        answer = _expect_hello(link)
        same = (answer.worker, answer.challenge) == (theirs.worker, theirs.challenge)
        if not same or not wire.is_proved(self._secret, answer, mine, dialled=True):
            raise ProtocolError("the peer does not know the cluster's secret")
        return theirs.worker

    # Calls.

    def _sort(self, peer: WorkerPeer, handle: Handle, data: bytes) -> None:
        """Handle a message between workers; pass any other on to `handle`."""
        if data and data[0] in wire.TYPES:
            self._handle(peer, wire.decode(data))
        else:
            handle(data)

    def _handle(self, peer: WorkerPeer, message: Hello | Call | Reply) -> None:
        match message:
            case Call():
                gevent.spawn(self._perform, peer, message)
            case Reply(number):
                asked, answer = self._calls.get(number, (None, None))
                if answer is None or asked is not peer:  # a late reply, or one from the wrong peer
                    return
                if message.error:
                    answer.set_exception(WorkerUnreachable(f"{peer.name}: {message.error}"))
                else:
                    answer.set(message.result)
            case Hello():
                raise ProtocolError("unexpected second Hello")

    def _perform(self, peer: WorkerPeer, call: Call) -> None:
        method = self.methods.get(call.method)
        if method is None:
            reply = Reply(call.number, error=f"unknown method {call.method}")
        else:
            try:
                reply = Reply(call.number, method(call.arguments))
            except Exception as error:  # the calling worker must get a reply in any case
                log.exception("call of %s by %s failed", call.method, peer.name)
                reply = Reply(call.number, error=f"{type(error).__name__}: {error}")
        peer.link.send(wire.encode(reply))


def _expect_hello(link: Link) -> Hello:
    with gevent.Timeout(HELLO_TIMEOUT, WorkerUnreachable(f"no Hello within {HELLO_TIMEOUT:g} s")):
        return wire.decode_hello(link.receive())
