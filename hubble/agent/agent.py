"""The agent: keeps a link to the proxy, and hands what comes over it to its two parts, entry and exit."""

from __future__ import annotations

import logging
import random
import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import gevent
from gevent.event import Event
from websockets.protocol import Side

from hubble.agent.connection import Connection
from hubble.agent.entry import Entry
from hubble.agent.exit import Exit, Forbids, forbids_nothing
from hubble.agent.identity import check_identity
from hubble.agent.links import Links
from hubble.agent.metrics import AgentMetrics
from hubble.agent.options import AgentOptions
from hubble.agent.rules import Rule, parse_rules
from hubble.agent.sessions import Sessions
from hubble.base.backoff import Backoff
from hubble.base.errors import (
    DialError,
    HubbleError,
    LinkClosed,
    ProtocolError,
    RegistrationInvalid,
    RegistrationRefused,
    UsageError,
)
from hubble.base.keepalive import keep_running
from hubble.base.recent import RecentSet
from hubble.protocol.binary import BINARY_TYPES, FROM_EXIT, SESSION_END
from hubble.protocol.codec import InvalidInitiator, decode, encode
from hubble.protocol.messages import (
    RESUMABLE,
    Ack,
    ConnectionClosed,
    Credit,
    Data,
    Done,
    Eof,
    GoAway,
    Handshake,
    Initiator,
    Message,
    Refusal,
    Reset,
    ResetReason,
    Stream,
    Suspend,
    Terminator,
)
from hubble.protocol.states import Path
from hubble.transport.addresses import Socket
from hubble.transport.dial.dial import Target, check_usage, open_websocket, parse_url
from hubble.transport.link import FIRST_MESSAGE, Link

log = logging.getLogger(__name__)

TICK = 0.25
"""Seconds between looks at the sessions' deadlines."""


class _Registered(NamedTuple):
    """A link on which the proxy at `target` has accepted this agent, and the messages that come over it."""

    target: Target
    link: Link
    messages: Iterator[bytes]
    resumable: bool


class Agent:
    """Registers with a proxy as the gateway `name`, forwards by its rules, and serves as an exit.

    `url` may be several, of proxies that know of each other: one of them is dialled, and kept until it is lost.
    `rules` are texts or Rules. `forbids` may say no to a destination. Raises UsageError for
    what cannot be meant. Call `run`, or `start` and later `stop`.
    """

    def __init__(
        self,
        url: str | Sequence[str],
        name: str,
        rules: Iterable[str | Rule] = (),
        *,
        key: str = "",
        options: AgentOptions | None = None,
        forbids: Forbids = forbids_nothing,
    ) -> None:
        check_identity(name, key)
        self.name = name
        self.options = options or AgentOptions()
        self._targets = [parse_url(one) for one in ([url] if isinstance(url, str) else url)]
        if not self._targets:
            raise UsageError("the proxy's URL is missing")
        for target in self._targets:
            check_usage(target, self.options.dial)
        self.listening: list[tuple[Rule, str, int]] = []
        """What `start` has returned."""
        self._key = key
        self._instance = secrets.token_bytes(16)
        self._epoch = 0
        self._links = Links()
        self._sessions = Sessions(self.options)
        self._entry = Entry(parse_rules(rules), self.options, self._links, self._sessions)
        self._exit = Exit(self.options, self._links, forbids, self._sessions)
        self._backoff = Backoff(self.options.retry_first, self.options.retry_most, random.random)
        self._answered = RecentSet(1024)
        self._stopping = Event()
        self._greenlets: list[gevent.Greenlet] = []
        self._metrics: AgentMetrics | None = None
        self._ever_registered = False
        self._moved: _Registered | None = None
        self._mover: gevent.Greenlet | None = None
        self._gave_up: HubbleError | None = None

    def run(self) -> None:
        """Start, and serve until `stop`. Raises what `start` and `wait` do."""
        self.start()
        self.wait()

    def start(self) -> list[tuple[Rule, str, int]]:
        """Listen, and begin to dial: each rule with the address and port it listens on. Raises ListenError."""
        self.listening = self._entry.listen()
        for rule, address, port in self.listening:
            log.info("rule %s listens on %s port %d", rule, address, port)
        self._greenlets = [
            keep_running("the link to the proxy", self._keep_linked),
            keep_running("watching deadlines", self._watch_deadlines),
        ]
        return self.listening

    def serve_metrics(self, listener: Socket) -> None:
        """Answer Prometheus on a listener of its own (docs/metrics.md), until `stop`."""
        self._metrics = AgentMetrics(listener, self._links.meters, self._connections, lambda: self._links.link)

    def wait(self) -> None:
        """Wait until the agent has stopped.

        Raises RegistrationInvalid if every proxy refused the first registration and the last as invalid, and with
        `exit_on_failure` whatever made the first registration fail.
        """
        self._greenlets[0].get()
        if self._gave_up is not None:
            raise self._gave_up

    def stop(self) -> None:
        """Reset all sessions, say good-bye to the proxy, and end."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        self._entry.close()
        self._exit.close()
        for connection in self._connections():
            connection.fail(ResetReason.AGENT_STOPPED, "the agent was stopped")
        link = self._links.link
        if link is not None:
            link.close(1000, "the agent was stopped")
            link.wait_closed(2.0)
        gevent.killall(self._greenlets)
        if self._metrics is not None:
            self._metrics.stop()

    # The link.

    def _keep_linked(self) -> None:
        while not self._stopping.is_set():
            error = self._serve_somewhere()
            hopeless = isinstance(error, RegistrationInvalid) or self.options.exit_on_failure
            if error is not None and hopeless and not self._ever_registered:
                self._gave_up = error
                return
            if self._moved is None:
                self._pause()

    def _serve_somewhere(self) -> HubbleError | None:
        """Serve at the first proxy that has us; the last failure if none has."""
        error: HubbleError | None = None
        for target in random.sample(self._targets, len(self._targets)):
            error = self._serve_at(target)
            if error is None:
                break
        return error

    def _pause(self) -> None:
        delay = self._backoff.next_delay()
        if self._is_any_waiting():
            delay = min(delay, self.options.retry_most_waiting)
        log.debug("next attempt in %.1f s", delay)
        self._stopping.wait(delay)

    def _serve_at(self, target: Target) -> HubbleError | None:
        """Register at a proxy, or take the link that was registered already, and serve it; what failed, if it did."""
        registered, self._moved = self._moved, None
        try:
            self._serve(registered or self._register(target))
        except LinkClosed as error:
            if self._mover is not None:  # it may be about to have another link, for which the proxy has ended this one
                self._mover.join(self.options.hello_timeout)
            if not self._stopping.is_set() and self._moved is None:
                log.warning("the link to the proxy was lost: %s", error)
        except (DialError, ProtocolError, RegistrationRefused) as error:
            if isinstance(error, RegistrationRefused):
                log.error("%s refused the registration as %s: %s", target, self.name, error)
            else:
                log.warning("%s", error)
            return error
        return None

    def _register(self, target: Target) -> _Registered:
        """A link on which the proxy has accepted this agent. Raises DialError, ProtocolError or RegistrationRefused."""
        upgraded = open_websocket(target, self.options.dial)
        link = Link(
            upgraded.socket,
            Side.CLIENT,
            leftover=upgraded.leftover,
            first_limit=FIRST_MESSAGE,
            keepalive=self.options.keepalive,
        )
        try:
            return self._say_hello(target, link)
        except LinkClosed as error:
            raise DialError(f"{target} has ended the link before it answered the registration: {error}") from error
        except BaseException:
            link.abort("the registration failed")
            raise

    def _say_hello(self, target: Target, link: Link) -> _Registered:
        self._epoch = max(self._epoch + 1, int(time.time() * 1000))
        features = frozenset({RESUMABLE})
        link.send(
            encode(Handshake(self.name, self._key, features=features, instance=self._instance, epoch=self._epoch))
        )
        messages = link.messages()
        timeout = self.options.hello_timeout
        late = DialError(f"{target} has not answered the registration within {timeout:g} s")
        with gevent.Timeout(timeout, late):
            answer = decode(next(messages))
        if not isinstance(answer, Ack):
            raise ProtocolError(f"{target} has answered the registration with {type(answer).__name__}")
        if not answer.ok:
            kind = RegistrationInvalid if answer.code is Refusal.BAD_REQUEST else RegistrationRefused
            raise kind(answer.message or "no reason was given")
        return _Registered(target, link, messages, RESUMABLE in answer.features)

    def _serve(self, registered: _Registered) -> None:
        link = registered.link
        log.info("registered as %s at %s", self.name, registered.target)
        self._ever_registered = True
        self._backoff.succeeded()
        link.on_drained = self._lane_drained
        self._answered = RecentSet(1024)
        self._links.set(link, registered.resumable)
        try:
            self._entry.resume_all(link)
            for data in registered.messages:
                message = self._decode(data)
                if message is not None:
                    self._dispatch(link, message)
        except ProtocolError as error:
            link.close(1002, str(error))
            raise
        except LinkClosed:
            raise
        except BaseException:  # nobody reads the link any more
            link.abort("serving it failed")
            raise
        finally:
            self._links.clear()
            self._lose_paths(link.why or "the link was lost")

    def _move(self, old: Link) -> None:
        """The proxy is going away: register elsewhere, or at its successor, before the old link is let go."""
        while not old.closed and not self._stopping.is_set():
            for target in random.sample(self._targets, len(self._targets)):
                try:
                    self._moved = self._register(target)
                except HubbleError as error:
                    log.debug("cannot move yet: %s", error)
                else:
                    old.close(1000, "moved to another link")
                    return
            self._stopping.wait(self.options.retry_first)

    def _lose_paths(self, why: str) -> None:
        for connection in self._connections():
            connection.path_lost(why)
        self._limit_waiting()

    # What comes over it.

    def _decode(self, data: bytes) -> Message | None:
        """The message; None if another agent has malformed it, which costs its session only. Raises ProtocolError."""
        try:
            return decode(data)
        except InvalidInitiator as error:  # another agent has written what the proxy did not check
            self._exit.refuse_invalid(error)
            return None
        except ProtocolError as error:
            if len(data) < SESSION_END or data[0] not in BINARY_TYPES:  # what the proxy itself has made
                raise
            connections = self._entry.connections if data[0] & FROM_EXIT else self._exit.connections
            connection = connections.get(data[1:SESSION_END])
            if connection is not None:
                connection.fail(ResetReason.PROTOCOL_ERROR, str(error))
            return None

    def _dispatch(self, link: Link, message: Message) -> None:
        match message:
            case Stream() | Credit() | Eof() | Reset() | Done() | Suspend():
                connections = self._entry.connections if message.from_exit else self._exit.connections
                connection = connections.get(message.session)
                if connection is not None:
                    connection.receive(message)
                elif isinstance(message, Stream | Eof | Done):
                    answer = Reset(message.session, not message.from_exit, ResetReason.UNKNOWN_SESSION)
                    self._answer_once(link, message.session, answer)
            case Ack():
                self._entry.acknowledge(message)
            case Initiator():
                self._exit.initiate(message)
            case GoAway(seconds):
                log.info("the proxy will go away within %d s: looking for another", seconds)
                if self._mover is None or self._mover.dead:
                    self._mover = keep_running("moving to another proxy", self._move, link)
            case Handshake():
                raise ProtocolError("a proxy does not say Handshake")
            case Data() | Terminator() | ConnectionClosed():
                connection = self._entry.connections.get(message.session) or self._exit.connections.get(message.session)
                if connection is not None:
                    connection.receive(message)
                elif isinstance(message, Data):
                    self._answer_once(link, message.session, ConnectionClosed(message.session))

    def _answer_once(self, link: Link, session: bytes, answer: Message) -> None:
        """Say that a session is unknown here; once, since more of its messages are on their way."""
        if self._answered.add(session):
            log.debug("a message of the unknown session %s", session.hex())
            link.send(encode(answer), session)

    def _lane_drained(self, lane: object) -> None:
        for connections in (self._entry.connections, self._exit.connections):
            connection = connections.get(lane)  # type: ignore[call-overload]  # lanes are session ids
            if connection is not None:
                connection.turn()

    # The sessions as a whole.

    def _connections(self) -> list[Connection]:
        return [*self._entry.connections.values(), *self._exit.connections.values()]

    def _watch_deadlines(self) -> None:
        while True:
            gevent.sleep(TICK)
            now = time.monotonic()
            self._entry.expire(now)
            self._exit.expire(now)
            for connection in self._connections():
                deadline = connection.session.deadline
                if deadline is not None and now >= deadline:
                    connection.expire()

    def _is_any_waiting(self) -> bool:
        return any(connection.session.path is Path.WAITING for connection in self._connections())

    def _limit_waiting(self) -> None:
        """Give up the sessions that keep most, where more wait, or keep more, than is allowed."""
        waiting = [
            (connection.session.kept, connection)
            for connection in self._connections()
            if connection.session.path is Path.WAITING
        ]
        waiting.sort(key=lambda pair: pair[0])
        total = sum(kept for kept, _ in waiting)
        while waiting and (len(waiting) > self.options.waiting_sessions or total > self.options.waiting_bytes):
            kept, connection = waiting.pop()
            total -= kept
            connection.fail(ResetReason.LIMIT, "too many sessions, or bytes, wait for their path")
