"""The entry: listens as the rules say, opens a session for each connection, and resumes sessions."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Iterable

import gevent

from hubble.agent.connection import Connection
from hubble.agent.links import Links
from hubble.agent.listeners.choose import listener_for
from hubble.agent.listeners.interface import Accepted
from hubble.agent.metrics import Meters
from hubble.agent.options import AgentOptions
from hubble.agent.pathrequests import PathRequests
from hubble.agent.pending import PendingConnections
from hubble.agent.rules import Rule
from hubble.agent.sessions import Sessions
from hubble.base.backoff import Backoff
from hubble.base.errors import ListenError
from hubble.base.floodlog import FloodLog
from hubble.base.keepalive import keep_running
from hubble.base.slices import in_slices
from hubble.protocol.codec import encode, session_text
from hubble.protocol.messages import Ack, ConnectionClosed, Initiator, Refusal, Reset, ResetReason
from hubble.protocol.states import PathState
from hubble.transport.addresses import set_tcp_options
from hubble.transport.dial.answer import printable
from hubble.transport.link import Link

log = logging.getLogger(__name__)

RETRY_FIRST, RETRY_MOST = 0.1, 1.0
"""Seconds between attempts to resume a session whose exit is offline."""
STEADY = 5.0
"""Seconds after which a resumed path counts as stable, and the pauses are reset."""

BUSY = (Refusal.LIMIT, Refusal.BUSY)
"""Refusals because of a limit."""


class Entry:
    """Listeners and the sessions opened through them."""

    def __init__(self, rules: Iterable[Rule], options: AgentOptions, links: Links, sessions: Sessions) -> None:
        self.connections: dict[bytes, Connection] = {}
        self._listeners = [listener_for(rule) for rule in rules]
        self._links = links
        self._flood_log = FloodLog(log)
        self._sessions = sessions
        self._destinations: dict[bytes, Rule] = {}
        self._pending = PendingConnections(links, self._open, options.max_pending, options.link_wait)
        self._path_requests = PathRequests(links, self._ask_again)
        self._greenlets: list[gevent.Greenlet] = []

    # Listening.

    def listen(self) -> list[tuple[Rule, str, int]]:
        """Listen as the rules say. Return each rule with its address and port. Raises ListenError."""
        listening = []
        for listener in self._listeners:
            try:
                listening.append((listener.rule, *listener.open()))
            except ListenError as error:
                self.close()
                raise ListenError(f"rule {listener.rule}: {error}") from error
        self._greenlets = [
            keep_running("opening sessions", self._pending.run),
            keep_running("resuming sessions", self._path_requests.run),
            *(keep_running(f"rule {each.rule}", each.serve, self._pending.add) for each in self._listeners),
        ]
        return listening

    def close(self) -> None:
        """Stop listening, and reset the connections waiting for a session."""
        gevent.killall(self._greenlets)
        for listener in self._listeners:
            listener.close()
        self._pending.close()

    def expire(self, now: float) -> None:
        """Refuse the connections that have waited too long."""
        self._pending.expire(now)

    # Opening.

    def _open(self, accepted: Accepted, link: Link) -> bytes:
        set_tcp_options(accepted.sock)
        session = self._sessions.for_entry(self._links.resumable)
        rule = accepted.rule
        label = f"session {session_text(session.id)} ({accepted.client} to {rule.gateway}:{rule.host}:{rule.host_port})"
        connection = Connection(self, session, label, accepted.sock, on_suspended=self._retry_later)
        self.connections[session.id] = connection
        self._destinations[session.id] = rule
        self._initiate(connection, link)
        return session.id

    def _initiate(self, connection: Connection, link: Link) -> None:
        session, rule = connection.session, self._destinations[connection.session.id]
        session.link_round_trip = link.round_trip or 0.0
        terms = session.connect(time.monotonic())
        initiator = Initiator(session.id, rule.host, rule.host_port, rule.gateway, rule.key, terms)
        link.send(encode(initiator), session.id)

    def acknowledge(self, ack: Ack) -> None:
        """Handle the answer to an Initiator, from the proxy or the exit."""
        self._path_requests.answered(ack.session)
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
        if connection.session.established:
            self._pending.answered(ack.session)

    def _turn_down(self, ack: Ack) -> None:
        """Decline an accepted session that has ended here: the exit would keep it and its destination open."""
        link = self._links.link
        if link is not None:
            reset = Reset(ack.session, False, ResetReason.UNKNOWN_SESSION)
            link.send(encode(reset if ack.terms else ConnectionClosed(ack.session)))

    def _accepted(self, connection: Connection, ack: Ack) -> None:
        self._path_requests.granted()
        session = connection.session
        if ack.terms is None and session.may_downgrade:  # the exit uses protocol 0.1
            connection.downgrade()
        else:
            session.connected(ack.terms, time.monotonic())

    def _refused(self, connection: Connection, ack: Ack) -> None:
        session = connection.session
        text = printable(ack.message) or "refused"
        if session.path is not PathState.CONNECTING:
            return
        if ack.code is Refusal.LIMIT and not session.established:
            self._pending.pause()
        if ack.code in BUSY:
            self._path_requests.busy()
        if session.refused(ack.code, text, time.monotonic(), patient=self._is_patient(session.id, ack.code)):
            self._retry_later(connection)
        elif ack.code is not Refusal.UNKNOWN_SESSION:
            self._flood_log.log(logging.WARNING, "sessions refused", "", "%s: refused: %s", connection.label, text)

    def _is_patient(self, session: bytes, code: Refusal) -> bool:
        """Return whether a new session should be retried: its exit may be late, or a limit may allow it later."""
        return self._links.is_young if code is Refusal.NO_GATEWAY else self._pending.may_wait(session)

    # Resuming.

    def resume_all(self, link: Link) -> None:
        """Request a path on a new link for each waiting session."""
        for connection in in_slices(list(self.connections.values())):
            if link.closed:
                return
            if connection.session.path is PathState.WAITING:
                self._retry(connection)
        self._pending.wake()

    def link_lost(self) -> None:
        """The link is gone: no Initiator will be answered."""
        self._path_requests.link_lost()

    def _retry_later(self, connection: Connection) -> None:
        backoff = connection.backoff
        if backoff is None:
            connection.backoff = backoff = Backoff(RETRY_FIRST, RETRY_MOST, random.random)
        elif time.monotonic() - connection.resumed_at > STEADY:
            backoff.succeeded()
        gevent.spawn_later(backoff.next_delay(), self._retry, connection)

    def _retry(self, connection: Connection) -> None:
        if self._links.link is not None and connection.session.path is PathState.WAITING:
            self._path_requests.add(connection, self._destinations[connection.session.id].gateway)

    def _ask_again(self, connection: Connection, link: Link) -> None:
        if not connection.session.established and connection.is_client_gone:
            connection.fail(ResetReason.LOCAL_RESET, "the client has disconnected")
        else:
            self._initiate(connection, link)

    # The interface for connections.

    @property
    def link(self) -> Link | None:
        """The link to the proxy, or None."""
        return self._links.link

    @property
    def meters(self) -> Meters:
        """The counters for connections."""
        return self._links.meters

    def forget(self, connection: Connection) -> None:
        """Remove a connection whose session is over."""
        self.connections.pop(connection.session.id, None)
        self._destinations.pop(connection.session.id, None)
        self._pending.answered(connection.session.id)
        self._path_requests.answered(connection.session.id)
