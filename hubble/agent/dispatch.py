"""Pass each message on an agent's link to its session, to the entry or to the exit."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

from hubble.agent.connection import Connection
from hubble.agent.entry import Entry
from hubble.agent.exit import Exit
from hubble.agent.handshake import Registered
from hubble.agent.selfcheck import SelfCheck
from hubble.base.errors import ProtocolError
from hubble.base.recent import RecentSet
from hubble.protocol.binary import BINARY_TYPES, FROM_EXIT, SESSION_END
from hubble.protocol.codec import InvalidInitiator, decode, encode
from hubble.protocol.messages import (
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
    Reset,
    ResetReason,
    Stream,
    Suspend,
    Terminator,
)
from hubble.transport.link import Link

log = logging.getLogger(__name__)

ANSWERED = 1024
"""Unknown sessions remembered, so that each is answered once."""


class Dispatcher:
    """Dispatches the messages of each link in turn. `go_away` is called with the seconds of a GoAway."""

    def __init__(self, entry: Entry, exit_: Exit, self_check: SelfCheck, go_away: Callable[[int], None]) -> None:
        self._entry = entry
        self._exit = exit_
        self._self_check = self_check
        self._go_away = go_away
        self._answered = RecentSet(ANSWERED)

    def serve(self, registered: Registered) -> None:
        """Dispatch messages until the link is closed. Raises LinkClosed, or ProtocolError for an invalid message."""
        self._answered = RecentSet(ANSWERED)
        registered.link.serve(partial(self._receive, registered.link))

    def _receive(self, link: Link, data: bytes) -> None:
        message = self._decode(data)
        if message is not None:
            self._dispatch(link, message)

    def lane_drained(self, lane: object) -> None:
        """Continue a session whose lane in the link's queue has room again."""
        for connections in (self._entry.connections, self._exit.connections):
            connection = connections.get(lane)  # type: ignore[call-overload]  # lanes are session ids
            if connection is not None:
                connection.turn()

    def _decode(self, data: bytes) -> Message | None:
        """Return the message, or None if another agent malformed it: only its session fails. Raises ProtocolError."""
        try:
            return decode(data)
        except InvalidInitiator as error:  # the proxy does not check every field that another agent wrote
            self._exit.refuse_invalid(error)
            return None
        except ProtocolError as error:
            if len(data) < SESSION_END or data[0] not in BINARY_TYPES:  # a message of the proxy itself
                raise
            connection = self._find(data[1:SESSION_END], bool(data[0] & FROM_EXIT))
            if connection is not None:
                connection.fail(ResetReason.PROTOCOL_ERROR, str(error))
            return None

    def _find(self, session: bytes, from_exit: bool) -> Connection | None:
        return (self._entry if from_exit else self._exit).connections.get(session)

    def _dispatch(self, link: Link, message: Message) -> None:
        match message:
            case Stream() | Credit() | Eof() | Reset() | Done() | Suspend():
                connection = self._find(message.session, message.from_exit)
                if connection is not None:
                    connection.receive(message)
                elif isinstance(message, Stream | Eof | Done):
                    answer = Reset(message.session, not message.from_exit, ResetReason.UNKNOWN_SESSION)
                    self._answer_once(link, message.session, answer)
            case Ack():
                if not self._self_check.answered(message):
                    self._entry.acknowledge(message)
            case Initiator():
                if not self._self_check.arrived(message):
                    self._exit.initiate(message)
            case GoAway(seconds):
                self._go_away(seconds)
            case Handshake():
                raise ProtocolError("the proxy sent a Handshake, which only agents send")
            case Data() | Terminator() | ConnectionClosed():
                connection = self._entry.connections.get(message.session) or self._exit.connections.get(message.session)
                if connection is not None:
                    connection.receive(message)
                elif isinstance(message, Data):
                    self._answer_once(link, message.session, ConnectionClosed(message.session))

    def _answer_once(self, link: Link, session: bytes, answer: Message) -> None:
        """Answer that a session is unknown here: only once, because more of its messages may be in flight."""
        if self._answered.add(session):
            log.debug("a message of the unknown session %s arrived", session.hex())
            link.send(encode(answer))
