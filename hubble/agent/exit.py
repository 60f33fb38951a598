"""The exit: connects sessions to destinations near it, and lets their entries resume them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from hubble.agent.connection import Connection
from hubble.agent.dials import Dialled, Dials
from hubble.agent.links import Links
from hubble.agent.metrics import Meters
from hubble.agent.options import AgentOptions
from hubble.agent.sessions import Sessions
from hubble.base.errors import DialError, ProtocolError
from hubble.base.floodlog import FloodLog
from hubble.protocol.codec import InvalidInitiator, encode, session_text
from hubble.protocol.messages import Ack, Initiator, Refusal, ResetReason, Terms
from hubble.transport.addresses import AddressCheck, IPAddress, Socket, connect
from hubble.transport.dial.answer import printable
from hubble.transport.endpoint import endpoint
from hubble.transport.link import Link

log = logging.getLogger(__name__)

Forbids = Callable[[str, IPAddress, int], str | None]
"""Takes the requested host, an address it resolves to, and the port. Returns why to refuse, or None."""


def forbids_nothing(host: str, address: IPAddress, port: int) -> str | None:
    """Return None: every destination is allowed."""
    return None


class Exit:
    """The sessions whose destinations are near this agent."""

    def __init__(self, options: AgentOptions, links: Links, forbids: Forbids, sessions: Sessions) -> None:
        self.connections: dict[bytes, Connection] = {}
        self._options = options
        self._links = links
        self._flood_log = FloodLog(log)
        self._forbids = forbids
        self._sessions = sessions
        self._dials = Dials(options.max_dials, options.dial_timeout, self._connect, self._dialled)

    def initiate(self, initiator: Initiator) -> None:
        """Handle an entry's request for a new session, or to resume one."""
        connection, dialling = self.connections.get(initiator.session), self._dials.get(initiator.session)
        if dialling is not None:
            self._dials.replace(self._newer(dialling, initiator))
        elif connection is not None:
            self._resume(connection, initiator)
        elif initiator.terms is not None and initiator.terms.resume:
            self._refuse(initiator, Refusal.UNKNOWN_SESSION, "the session is unknown here")
        elif len(self.connections) + len(self._dials) >= self._options.max_sessions:
            self._refuse(initiator, Refusal.BUSY, f"this exit already has {self._options.max_sessions} sessions")
        else:
            self._dials.add(initiator)

    def refuse_invalid(self, error: InvalidInitiator) -> None:
        """Refuse an entry's request that has an invalid field."""
        self._flood_log.log(
            logging.WARNING, "sessions refused", "", "session %s: refused: %s", session_text(error.session), error
        )
        link = self._links.link
        if link is not None:
            ack = Ack(error.session, False, str(error), code=Refusal.BAD_REQUEST, path=error.path)
            link.send(encode(ack))

    def expire(self, now: float) -> None:
        """Refuse the sessions that have waited too long for a dial."""
        self._dials.expire(now)

    def close(self) -> None:
        """Stop dialing."""
        self._dials.close()

    def _newer(self, first: Initiator, initiator: Initiator) -> Initiator:
        """Return which of two Initiators for a session being dialed to answer: the later, if its secret matches."""
        if first.terms is None or initiator.terms is None or first.terms.secret != initiator.terms.secret:
            self._refuse(initiator, Refusal.UNKNOWN_SESSION, "the session is unknown here")
            return first
        return initiator if initiator.terms.attempt > first.terms.attempt else first

    # Opening.

    def _connect(self, initiator: Initiator) -> Socket:
        host, port = initiator.host, initiator.port
        started = time.monotonic()
        try:
            sock = connect(host, port, self._options.dial_timeout, self._checker(host, port))
        except DialError:
            self.meters.dial_failed(time.monotonic() - started, self._options.dial_timeout)
            raise
        self.meters.dials.add(time.monotonic() - started)
        return sock

    def _dialled(self, dialled: Dialled) -> None:
        initiator = dialled.initiator
        if dialled.sock is not None:
            self._open(initiator, dialled.sock)
            return
        self._flood_log.log(
            logging.WARNING, "sessions refused", initiator.source,
            "session %s: %s", session_text(initiator.session), dialled.text,
        )  # fmt: skip
        self._refuse(initiator, dialled.code, dialled.text)

    def _checker(self, host: str, port: int) -> AddressCheck:
        def check(address: IPAddress) -> None:
            reason = self._forbids(host, address, port)
            if reason:
                raise DialError(f"{endpoint(str(address), port)} is not allowed here: {reason}")

        return check

    def _open(self, initiator: Initiator, sock: Socket) -> None:
        link = self._links.link
        source = printable(initiator.source) or "an agent"
        destination = printable(endpoint(initiator.host, initiator.port))
        label = f"session {session_text(initiator.session)} ({source} to {destination})"
        session = self._sessions.for_exit(initiator)
        connection = self.connections[session.id] = Connection(self, session, label, sock)
        if link is None:
            connection.path_lost("the link was lost")
            return
        session.link_round_trip = link.round_trip or 0.0
        try:
            terms = session.accept(initiator.terms, time.monotonic())
        except ProtocolError as error:  # such as an offset although no byte was sent yet
            connection.fail(ResetReason.PROTOCOL_ERROR, str(error))
            self._refuse(initiator, Refusal.BAD_REQUEST, str(error))
            return
        self._answer(initiator, link, terms)
        connection.turn()

    # Resuming.

    def _resume(self, connection: Connection, initiator: Initiator) -> None:
        session, link = connection.session, self._links.link
        if initiator.terms is None or not session.resumable or link is None:
            self._refuse(initiator, Refusal.BAD_REQUEST, "the session already exists")
            return
        try:
            session.link_round_trip = link.round_trip or 0.0
            terms = session.accept(initiator.terms, time.monotonic())
        except ProtocolError as error:
            self._flood_log.log(
                logging.WARNING, "resumptions refused", initiator.source,
                "%s: refused a resumption: %s", connection.label, error,
            )  # fmt: skip
            self._refuse(initiator, Refusal.UNKNOWN_SESSION, "the session is unknown here")
            return
        if terms is not None:
            self._answer(initiator, link, terms)
            connection.turn(in_order=True)  # the proxy cannot route credit before the answer has passed

    # Answers.

    def _answer(self, initiator: Initiator, link: Link, terms: Terms | None) -> None:
        ack = Ack(initiator.session, True, terms=terms, path=initiator.path)
        link.send(encode(ack), initiator.session)

    def _refuse(self, initiator: Initiator, code: Refusal, text: str) -> None:
        link = self._links.link
        if link is not None:
            ack = Ack(initiator.session, False, text, code=code, path=initiator.path)
            link.send(encode(ack))  # urgent: no message of the session waits, and urgent messages are bounded

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
