"""The links between workers: a session whose two agents are at different workers crosses exactly one of them.

A worker dials another when it first needs it, and keeps the link. Either side may open sessions over it, to gateways
of the other, and never further: what comes from a worker is not passed on to a third.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import gevent
from gevent import socket
from gevent.event import AsyncResult
from gevent.lock import RLock
from gevent.server import StreamServer
from websockets.protocol import Side

from hubble.directory import Directory, Worker
from hubble.errors import HubbleError, LinkClosed, ProtocolError
from hubble.protocol import peering
from hubble.protocol.peering import Call, Hello, Reply
from hubble.proxy.routes import Leg, worker_leg_name
from hubble.transport.addresses import Socket, connect
from hubble.transport.link import Keepalive, Link

log = logging.getLogger(__name__)

HELLO_TIMEOUT = 5.0
CALL_TIMEOUT = 10.0

Serve = Callable[[Leg, Iterator[bytes]], None]
"""Serves a worker's leg until its link ends; what the mesh itself understands is taken out before."""
Methods = dict[str, Callable[[dict[str, Any]], Any]]


class WorkerUnreachable(HubbleError):
    """Another worker cannot be reached, or has not answered."""


class Mesh:
    """This worker's links to the others. `methods` are what the others may call here."""

    def __init__(
        self, me: Worker, directory: Directory, serve: Serve, *, secret: bytes = b"", keepalive: Keepalive | None = None
    ) -> None:
        self.me = me
        self.methods: Methods = {}
        self._directory = directory
        self._serve = serve
        self._secret = secret
        self._keepalive = keepalive
        self._legs: dict[str, Leg] = {}
        self._dialling: dict[str, RLock] = {}
        self._calls: dict[int, AsyncResult[Any]] = {}
        self._numbers = 0
        self._server: StreamServer | None = None
        self._links: set[Link] = set()

    def start(self, listener: Socket) -> None:
        """Accept the links of other workers."""
        self._server = StreamServer(listener, self._accept)
        self._server.start()

    def stop(self) -> None:
        """Accept no more, and close all links."""
        if self._server is not None:
            self._server.close()
        for link in list(self._links):
            link.close(1001, "the worker is going away")

    def leg(self, worker_id: str) -> Leg:
        """The leg to another worker, dialled if need be. Raises WorkerUnreachable; the directory then forgets it."""
        with self._dialling.setdefault(worker_id, RLock()):
            leg = self._legs.get(worker_id)
            return leg if leg is not None and not leg.link.closed else self._dial(worker_id)

    def call(self, worker_id: str, method: str, **arguments: Any) -> Any:
        """What `method` comes to at another worker, or here. Raises WorkerUnreachable."""
        if worker_id == self.me.id:
            return self.methods[method](arguments)
        leg = self.leg(worker_id)
        self._numbers += 1
        number = self._numbers
        answer = self._calls[number] = AsyncResult()
        leg.link.send(peering.encode(Call(number, method, arguments)))
        try:
            return answer.get(timeout=CALL_TIMEOUT)
        except gevent.Timeout:
            raise WorkerUnreachable(f"worker {worker_id} has not answered {method}") from None
        finally:
            del self._calls[number]

    def call_all(self, method: str, **arguments: Any) -> dict[str, Any]:
        """What `method` comes to at every worker that answers, this one included, by worker id."""
        asked = {
            worker.id: gevent.spawn(self._try_call, worker.id, method, arguments)
            for worker in self._directory.workers()
        }
        gevent.joinall(asked.values())
        return {worker_id: greenlet.value for worker_id, greenlet in asked.items() if greenlet.value is not None}

    def _try_call(self, worker_id: str, method: str, arguments: dict[str, Any]) -> Any:
        try:
            return self.call(worker_id, method, **arguments)
        except WorkerUnreachable as error:
            log.debug("%s", error)
            return None

    # Links.

    def _dial(self, worker_id: str) -> Leg:
        worker = self._directory.worker(worker_id)
        if worker is None:
            raise WorkerUnreachable(f"worker {worker_id} is not there")
        try:
            sock = _connect(worker.address)
            link = self._link(sock, Side.CLIENT)
            messages = self._greet(link, worker_id)
        except (HubbleError, OSError) as error:
            log.warning("worker %s cannot be reached: %s", worker_id, error)
            self._directory.leave(worker_id)
            raise WorkerUnreachable(f"worker {worker_id} cannot be reached: {error}") from error
        leg = self._legs[worker_id] = Leg(link, worker_leg_name(worker_id), resumable=True, is_worker=True)
        gevent.spawn(self._run, leg, messages)
        return leg

    def _accept(self, sock: Socket, address: object) -> None:
        link = self._link(sock, Side.SERVER)
        try:
            worker_id, messages = self._answer(link)
        except (HubbleError, gevent.Timeout) as error:
            log.warning("a link that is no worker's was refused: %s", error)
            link.abort("not a worker's link")
            return
        self._run(Leg(link, worker_leg_name(worker_id), resumable=True, is_worker=True), messages)

    def _link(self, sock: Socket, side: Side) -> Link:
        link = Link(sock, side, masked=False, keepalive=self._keepalive)
        self._links.add(link)
        return link

    def _run(self, leg: Leg, messages: Iterator[bytes]) -> None:
        try:
            self._serve(leg, self._without_peering(leg, messages))
        except (LinkClosed, ProtocolError) as error:
            log.debug("the link to %s ended: %s", leg.name, error)
        finally:
            leg.link.abort("the link between the workers has ended")
            self._links.discard(leg.link)

    # The proof that both belong together.

    def _greet(self, link: Link, worker_id: str) -> Iterator[bytes]:
        hello = Hello(self.me.id, secrets.token_hex(32))
        link.send(peering.encode(hello))
        messages = link.messages()
        theirs = _expect_hello(messages)
        if theirs.worker != worker_id or not peering.is_proved(self._secret, theirs, hello.challenge):
            link.abort("not the worker expected")
            raise ProtocolError(f"it is not worker {worker_id} of this cluster")
        proved = peering.proof(self._secret, hello, theirs.challenge)
        link.send(peering.encode(Hello(hello.worker, hello.challenge, proved)))
        return messages

    def _answer(self, link: Link) -> tuple[str, Iterator[bytes]]:
        messages = link.messages()
        theirs = _expect_hello(messages)
        hello = Hello(self.me.id, secrets.token_hex(32))
        proved = peering.proof(self._secret, hello, theirs.challenge)
        link.send(peering.encode(Hello(hello.worker, hello.challenge, proved)))
        answer = _expect_hello(messages)
        same = (answer.worker, answer.challenge) == (theirs.worker, theirs.challenge)
        if not same or theirs.worker == self.me.id or not peering.is_proved(self._secret, answer, hello.challenge):
            raise ProtocolError("it does not know the cluster's secret")
        return theirs.worker, messages

    # Calls.

    def _without_peering(self, leg: Leg, messages: Iterator[bytes]) -> Iterator[bytes]:
        for data in messages:
            if data and data[0] in peering.TYPES:
                self._heed(leg, peering.decode(data))
            else:
                yield data

    def _heed(self, leg: Leg, message: Hello | Call | Reply) -> None:
        match message:
            case Call():
                gevent.spawn(self._perform, leg, message)
            case Reply(number):
                answer = self._calls.get(number)
                if answer is not None and message.error:
                    answer.set_exception(WorkerUnreachable(f"{leg.name}: {message.error}"))
                elif answer is not None:
                    answer.set(message.result)
            case Hello():
                raise ProtocolError("a second Hello")

    def _perform(self, leg: Leg, call: Call) -> None:
        method = self.methods.get(call.method)
        if method is None:
            reply = Reply(call.number, error=f"there is no method {call.method}")
        else:
            try:
                reply = Reply(call.number, method(call.arguments))
            except Exception as error:  # a caller elsewhere must get an answer, whatever went wrong here
                log.exception("the call of %s by %s failed", call.method, leg.name)
                reply = Reply(call.number, error=f"{type(error).__name__}: {error}")
        leg.link.send(peering.encode(reply))


def _expect_hello(messages: Iterator[bytes]) -> Hello:
    with gevent.Timeout(HELLO_TIMEOUT, ProtocolError(f"no Hello within {HELLO_TIMEOUT:g} s")):
        message = peering.decode(next(messages))
    if not isinstance(message, Hello):
        raise ProtocolError("no Hello")
    return message


def _connect(address: str) -> Socket:
    kind, _, place = address.partition(":")
    if kind == "unix":
        sock: Socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.connect(place)
        except OSError:
            sock.close()
            raise
        return sock
    host, _, port = place.rpartition(":")
    return connect(host.strip("[]"), int(port), HELLO_TIMEOUT)
