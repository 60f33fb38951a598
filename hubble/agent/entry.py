"""The entry's part: listens where the rules say, opens a session for each connection, and resumes those it must."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Iterable

import gevent
from gevent.pool import Group

from hubble.agent.connection import Connection, reset
from hubble.agent.links import Links
from hubble.agent.metrics import Meters
from hubble.agent.options import AgentOptions
from hubble.agent.rules import Rule
from hubble.agent.sessions import Sessions
from hubble.base.backoff import Backoff
from hubble.base.errors import ListenError
from hubble.protocol.codec import encode, session_text
from hubble.protocol.messages import Ack, ConnectionClosed, Initiator, Refusal, Reset, ResetReason
from hubble.protocol.states import Path
from hubble.transport.addresses import Socket, set_tcp_options
from hubble.transport.endpoint import endpoint
from hubble.transport.link import Link
from hubble.transport.listen import open_listener

log = logging.getLogger(__name__)

RETRY_FIRST, RETRY_MOST = 0.1, 1.0
"""Seconds between attempts to resume a session whose exit is away."""


class Entry:
    """Listeners and the sessions opened through them."""

    def __init__(self, rules: Iterable[Rule], options: AgentOptions, links: Links, sessions: Sessions) -> None:
        self.connections: dict[bytes, Connection] = {}
        self._rules = list(rules)
        self._options = options
        self._links = links
        self._sessions = sessions
        self._destinations: dict[bytes, Rule] = {}
        self._listeners: list[tuple[Rule, Socket]] = []
        self._greenlets = Group()

    # Listening.

    def listen(self) -> list[tuple[Rule, str, int]]:
        """Listen as the rules say: each rule with the address and the port it has got. Raises ListenError."""
        try:
            for rule in self._rules:
                self._listeners.append((rule, open_listener(rule.bind, rule.port)))
        except ListenError as error:
            self.close()
            raise ListenError(f"rule {rule}: {error}") from error
        for rule, listener in self._listeners:
            self._greenlets.spawn(self._accept, rule, listener)
        return [(rule, *listener.getsockname()[:2]) for rule, listener in self._listeners]

    def close(self) -> None:
        """Accept no more, and reset those that wait for a link."""
        self._greenlets.kill()
        for _, listener in self._listeners:
            listener.close()

    def _accept(self, rule: Rule, listener: Socket) -> None:
        while True:
            try:
                sock, address = listener.accept()
            except OSError as error:  # too many open files, mostly: others will be closed
                log.error("rule %s: cannot accept: %s", rule, error)
                gevent.sleep(0.5)
                continue
            self._greenlets.spawn(self._open, rule, sock, endpoint(*address[:2]))

    # Opening.

    def _open(self, rule: Rule, sock: Socket, client: str) -> None:
        set_tcp_options(sock)
        try:
            link = self._links.wait(self._options.link_wait)
        except gevent.GreenletExit:  # the agent is stopped
            reset(sock)
            raise
        if link is None:
            log.warning("rule %s: %s refused: no link to the proxy within %g s", rule, client, self._options.link_wait)
            reset(sock)
            return
        session = self._sessions.for_entry(self._links.resumable)
        label = f"session {session_text(session.id)} ({client} to {rule.gateway}:{rule.host}:{rule.host_port})"
        connection = Connection(self, session, label, sock, on_suspended=self._retry_later)
        self.connections[session.id] = connection
        self._destinations[session.id] = rule
        self._initiate(connection, link)

    def _initiate(self, connection: Connection, link: Link) -> None:
        session, rule = connection.session, self._destinations[connection.session.id]
        session.link_round_trip = link.round_trip or 0.0
        terms = session.connect(time.monotonic())
        initiator = Initiator(session.id, rule.host, rule.host_port, rule.gateway, rule.key, terms)
        link.send(encode(initiator), session.id)

    def acknowledge(self, ack: Ack) -> None:
        """The proxy, or the exit, has answered an Initiator."""
        connection = self.connections.get(ack.session)
        if connection is None:
            if ack.ok:
                self._turn_down(ack)
            return
        if ack.ok:
            self._accepted(connection, ack)
        else:
            self._refused(connection, ack)
        connection.turn()

    def _turn_down(self, ack: Ack) -> None:
        """The session has ended meanwhile: the exit would keep it, and its destination, for nothing."""
        link = self._links.link
        if link is not None:
            reset = Reset(ack.session, False, ResetReason.UNKNOWN_SESSION)
            link.send(encode(reset if ack.terms else ConnectionClosed(ack.session)), ack.session)

    def _accepted(self, connection: Connection, ack: Ack) -> None:
        session = connection.session
        if ack.terms is None and session.may_downgrade:  # the exit speaks protocol 0.1
            connection.downgrade()
        else:
            session.connected(ack.terms, time.monotonic())

    def _refused(self, connection: Connection, ack: Ack) -> None:
        session = connection.session
        text = ack.message or "refused"
        if session.path is not Path.CONNECTING:
            return
        if session.refused(ack.code, text, time.monotonic(), patient=self._links.is_young):
            self._retry_later(connection)
        elif ack.code is not Refusal.UNKNOWN_SESSION:
            log.warning("%s: refused: %s", connection.label, text)

    # Resuming.

    def resume_all(self, link: Link) -> None:
        """A link is there again: ask for a path for each session that waits."""
        for connection in list(self.connections.values()):
            if connection.session.path is Path.WAITING:
                self._initiate(connection, link)

    def _retry_later(self, connection: Connection) -> None:
        backoff = connection.backoff
        if backoff is None:
            connection.backoff = backoff = Backoff(RETRY_FIRST, RETRY_MOST, random.random)
        gevent.spawn_later(backoff.next_delay(), self._retry, connection)

    def _retry(self, connection: Connection) -> None:
        link = self._links.link
        if link is not None and connection.session.path is Path.WAITING:
            self._initiate(connection, link)

    # What connections need.

    @property
    def link(self) -> Link | None:
        """The link to the proxy, while there is one."""
        return self._links.link

    @property
    def meters(self) -> Meters:
        """Where connections count what they do."""
        return self._links.meters

    def forget(self, connection: Connection) -> None:
        """The connection's session is over."""
        self.connections.pop(connection.session.id, None)
        self._destinations.pop(connection.session.id, None)
