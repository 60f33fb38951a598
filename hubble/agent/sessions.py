"""The sessions of an agent. Only this module chooses between resumable sessions and those of protocol 0.1."""

from __future__ import annotations

import secrets
import time
import uuid

from hubble.agent.options import AgentOptions
from hubble.protocol import session
from hubble.protocol.credit import Budget, Window
from hubble.protocol.interface import SessionInterface
from hubble.protocol.legacy.session import LegacySession
from hubble.protocol.messages import Initiator
from hubble.protocol.session import Session


class Sessions:
    """Makes sessions. Their windows share one budget, and their kept bytes share another."""

    def __init__(self, options: AgentOptions) -> None:
        self._options = options
        self._credit = Budget(options.link_budget, Budget(options.process_budget))
        self._keep = Budget(options.process_budget)

    @property
    def bytes_in_use(self) -> int:
        """The bytes of credit granted and of sent data kept by all sessions."""
        return self._credit.taken + self._keep.taken

    def for_entry(self, resumable: bool) -> SessionInterface:
        """Return a new session for the entry: resumable, or of protocol 0.1."""
        session_id = uuid.uuid4().bytes
        if resumable:
            return self._resumable(session_id, from_exit=False, secret=secrets.token_bytes(16))
        return LegacySession(session_id, from_exit=False, deadline=time.monotonic() + session.OPEN_TIMEOUT)

    def for_exit(self, initiator: Initiator) -> SessionInterface:
        """Return a new session for the exit, of the kind that the entry requested."""
        if initiator.terms is None:
            return LegacySession(initiator.session, from_exit=True)
        return self._resumable(initiator.session, from_exit=True, secret=initiator.terms.secret)

    def _resumable(self, session_id: bytes, *, from_exit: bool, secret: bytes) -> Session:
        options = self._options
        return Session(
            session_id,
            from_exit=from_exit,
            secret=secret,
            window=Window(self._credit, options.initial_window, options.largest_window),
            keep=self._keep,
            resume_timeout=options.resume_timeout,
        )


def downgraded(old: SessionInterface) -> SessionInterface:
    """Return an open session of protocol 0.1 that replaces a session that `may_downgrade`."""
    old.abandon()
    new = LegacySession(old.id, from_exit=old.from_exit)
    new.open()
    return new
