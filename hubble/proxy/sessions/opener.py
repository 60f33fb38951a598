"""Opens a session: asks the policy, finds the gateway, and turns the exit's Ack into a route."""

from __future__ import annotations

import dataclasses
import logging
import secrets
import time
from collections.abc import Callable

import gevent

from hubble.base.pacing import PacedSpawner
from hubble.mesh.peer import WorkerPeer
from hubble.policy import Authorizer, ConnectionRequest
from hubble.protocol.codec import InvalidInitiator, encode, session_text
from hubble.protocol.direction import TO_ENTRY, TO_EXIT
from hubble.protocol.legacy.words import AUTHORIZATION_ERROR, NO_GATEWAY, UNAUTHORIZED
from hubble.protocol.messages import (
    Ack,
    Initiator,
    Message,
    Refusal,
    ResetReason,
    Suspend,
    Terminator,
    Terms,
)
from hubble.proxy.gateways.gateway import Gateway
from hubble.proxy.gateways.limits import AbuseLimits, Meter
from hubble.proxy.gateways.registry import Gateways
from hubble.proxy.sessions.ending import lost_message, reset_message
from hubble.proxy.sessions.excess import Excess
from hubble.proxy.sessions.kicks import Kicks
from hubble.proxy.sessions.record import Record
from hubble.proxy.sessions.registry import SessionRegistry
from hubble.proxy.sessions.routes import Half, Route, Routes
from hubble.proxy.subscriber import Subscriber
from hubble.transport.link import Link
from hubble.transport.peer import Peer

log = logging.getLogger(__name__)

NOT_YOURS = "the session belongs to other agents"
UNKNOWN = "the exit does not know the session"
EXIT_LOST = "the link of the gateway was lost; try again"
MOST_UNANSWERED = 2_000
"""Initiators of one agent that neither the policy nor an exit has answered yet."""
MOST_UNANSWERED_BYTES = 2 * 1024 * 1024
"""The total size of these Initiators, in bytes."""


class Opener:
    """Opens routes. Protocol 0.1 defines the texts of some refusals (docs/protocol.md)."""

    def __init__(
        self,
        gateways: Gateways,
        routes: Routes,
        sessions: SessionRegistry,
        kicks: Kicks,
        authorizer: Authorizer,
        subscriber: Subscriber,
        limits: AbuseLimits,
    ) -> None:
        self._limits = limits
        self._rate = Meter(limits.sessions_per_second, limits.sessions_per_second)
        self._spawner = PacedSpawner()
        self._gateways = gateways
        self._routes = routes
        self._authorizer = authorizer
        self._sessions = sessions
        self._kicks = kicks
        self._subscriber = subscriber

    @property
    def most_refusals(self) -> int:
        """Return the number of refused sessions of one agent in a second before its link is throttled."""
        return self._limits.sessions_per_second

    def ask(self, entry: Gateway, initiator: Initiator, excess: Excess) -> None:
        """Open the session that an agent requests; refuse it and throttle the link beyond the agent's limits."""
        exceeded = self._over_limit(entry, initiator)
        if exceeded is None:
            table, size = self._routes.of(entry), _size(initiator)
            table.begin_to_ask(initiator.session, size)
            self._spawner.spawn(entry, self._begin, entry, initiator, lambda: table.end_to_ask(initiator.session, size))
            return
        code, text = exceeded
        refused = excess.count()
        if refused:
            total = f" ({refused} sessions refused)" if refused > 1 else ""
            self._sessions.refused(_record(_request(entry, initiator), initiator), code, text + total)
        answer(entry.link, Ack(initiator.session, False, text, code, path=initiator.path), initiator.session)
        excess.hold_back(text)

    def _begin(self, entry: Gateway, initiator: Initiator, done: Callable[[], None]) -> None:
        try:
            if not entry.link.closed:
                self._decide(entry, initiator)
        finally:
            done()

    def _decide(self, entry: Gateway, initiator: Initiator) -> None:
        """Ask the policy, find the gateway, and forward the Initiator, or refuse it."""
        request = _request(entry, initiator)
        record = _record(request, initiator)
        denied = self._denied(request, initiator)
        if denied:
            self._refuse(entry, initiator, *denied, record)
        else:
            self._find_exit(entry, dataclasses.replace(initiator, path=0, source=entry.name), request, record)

    def _find_exit(
        self, entry: Gateway, initiator: Initiator, request: ConnectionRequest | None, record: Record
    ) -> None:
        exit_peer = self._gateways.find_patiently(initiator.gateway, record.asked)
        if exit_peer is None:
            self._refuse(entry, initiator, Refusal.NO_GATEWAY, NO_GATEWAY, record)
        elif entry is exit_peer and (initiator.terms is None or not entry.resumable):
            self._refuse(
                entry, initiator, Refusal.BAD_REQUEST, "an agent that speaks protocol 0.1 cannot reach itself", record
            )
        else:
            self._propose(entry, exit_peer, initiator, request, record)

    def _find_exit_again(self, route: Route, initiator: Initiator, lost: WorkerPeer) -> None:
        """Find the exit again after the worker `lost` has lost the gateway, which may be about to reconnect anywhere.

        It waits for the directory, so the hub must not call it.
        """
        assert isinstance(route.entry, Gateway) and route.record is not None
        table = self._routes.of(route.entry)
        table.begin_to_ask(route.session, route.size)
        try:
            self._gateways.remove_stale(route.gateway, lost)
            self._find_exit(route.entry, initiator, route.request, route.record)
        finally:
            table.end_to_ask(route.session, route.size)

    def refuse_invalid(self, entry: Peer, error: InvalidInitiator, excess: Excess) -> None:
        """Refuse a session whose Initiator is invalid; throttle the link of an agent that sends too many of them."""
        refused = excess.count()
        if refused:
            log.warning(
                "session %s refused: invalid Initiator from %s: %s (%d sessions refused)",
                session_text(error.session), entry.name, error, refused,
            )  # fmt: skip
        ack = Ack(error.session, False, str(error), Refusal.BAD_REQUEST, path=error.path)
        answer(entry.link, ack, error.session)
        if isinstance(entry, Gateway):  # a worker's link also carries the sessions of other agents
            excess.hold_back(str(error))

    def open_from_worker(self, entry: Peer, initiator: Initiator) -> None:
        """Forward an Initiator from another worker, which has asked the policy, to a gateway at this worker."""
        exit_peer = self._gateways.get(initiator.gateway)
        if exit_peer is None:
            self._refuse(entry, initiator, Refusal.NO_GATEWAY, NO_GATEWAY)
        else:
            self._propose(entry, exit_peer, initiator)

    def _propose(
        self,
        entry: Peer,
        exit_peer: Peer,
        initiator: Initiator,
        request: ConnectionRequest | None = None,
        record: Record | None = None,
    ) -> None:
        if entry.link.closed:
            return
        extended = initiator.terms is not None and exit_peer.resumable
        route = Route(
            initiator.session,
            entry,
            exit_peer,
            source=initiator.source,
            gateway=initiator.gateway,
            path=secrets.randbits(62) + 1 if extended or exit_peer.is_worker else 0,
            entry_path=initiator.path,
            size=_size(initiator),
            initiator=initiator if exit_peer.is_worker and not entry.is_worker else None,
            request=request,
            record=record,
        )
        if self._routes.would_steal(route):
            self._refuse(entry, initiator, Refusal.BAD_REQUEST, NOT_YOURS, record)
            return
        if initiator.terms is not None and initiator.terms.resume and not exit_peer.resumable:
            # An exit that speaks protocol 0.1 would open a new session, about which the policy has not been asked.
            self._refuse(entry, initiator, Refusal.UNKNOWN_SESSION, UNKNOWN, record)
            return
        passed_on = dataclasses.replace(initiator, path=route.path)
        if not extended and not exit_peer.is_worker:  # protocol 0.1 does not know these fields
            passed_on = dataclasses.replace(passed_on, terms=None, source="")
        elif passed_on.terms is not None:
            passed_on = dataclasses.replace(passed_on, terms=_granted(route.halves[TO_ENTRY], passed_on.terms))
        self._routes.propose(route)
        exit_peer.link.send(encode(passed_on), initiator.session)

    def acknowledge(self, exit_peer: Peer, ack: Ack) -> None:
        """Handle the Ack with which an exit answers an Initiator."""
        route = self._routes.answered(exit_peer, ack.session, ack.path)
        if route is None:
            self._reject_late_ack(exit_peer, ack)
            return
        route.resumable = ack.terms is not None
        if ack.ok and route.entry.link.closed:
            exit_peer.link.send(encode(lost_message(route, TO_EXIT)), route.session)
            return
        if ack.ok and self._routes.would_steal(route):  # other agents have opened the session since the proposal
            refused = reset_message(route, TO_EXIT, ResetReason.REFUSED, NOT_YOURS)
            exit_peer.link.send(encode(refused), route.session)
            ack = Ack(route.session, False, NOT_YOURS, Refusal.BAD_REQUEST)
        if ack.code is Refusal.NO_GATEWAY and isinstance(exit_peer, WorkerPeer) and route.initiator is not None:
            gevent.spawn(self._find_exit_again, route, route.initiator, exit_peer)
            return
        route.initiator = None
        if ack.terms is not None:
            ack = dataclasses.replace(ack, terms=_granted(route.halves[TO_EXIT], ack.terms))
        if ack.ok:
            self._routes.lay(route)
        self._sessions.answered(route, ack)
        route.entry.link.send(encode(dataclasses.replace(ack, path=route.entry_path)), route.session)

    def _reject_late_ack(self, exit_peer: Peer, ack: Ack) -> None:
        """Tell an exit that its entry no longer waits: otherwise it would keep the session and its connection."""
        if ack.ok and self._routes.get(ack.session) is None and not self._routes.is_proposed_to(exit_peer, ack.session):
            message = Terminator(ack.session) if ack.terms is None else Suspend(ack.session, False)
            answer(exit_peer.link, message, ack.session)

    def exit_lost(self, exit_peer: Peer) -> None:
        """Refuse the unanswered Initiators of an exit whose link is lost."""
        for route in self._routes.of(exit_peer).proposed():
            self._routes.withdraw(route)
            if route.exit is exit_peer and not route.entry.link.closed:
                # The exit may have accepted, so only the entry can retry, with a new attempt number.
                code, text = (Refusal.BUSY, EXIT_LOST) if route.path else (Refusal.NO_GATEWAY, NO_GATEWAY)
                ack = Ack(route.session, False, text, code, path=route.entry_path)
                self._sessions.answered(route, ack)
                route.entry.link.send(encode(ack), route.session)

    def _over_limit(self, entry: Gateway, initiator: Initiator) -> tuple[Refusal, str] | None:
        """Return the refusal for a session that would exceed a limit, or None.

        The entry alone claims that a session resumes, so resumptions count as well. But all sessions of an agent may
        resume or retry at once: later attempts get BUSY, so that the agent retries them. Resumptions have their own
        rate, so that they do not compete with new sessions.
        """
        table = self._routes.of(entry)
        terms, unanswered = initiator.terms, table.unanswered
        code = Refusal.LIMIT if terms is None or terms.attempt <= 1 else Refusal.BUSY
        if table.has_other_sessions(initiator.session, self._limits.sessions):
            return code, f"{entry.name} has reached its session limit ({self._limits.sessions})"
        if unanswered.count >= MOST_UNANSWERED or unanswered.size + _size(initiator) > MOST_UNANSWERED_BYTES:
            return code, f"{entry.name} already waits for answers about {unanswered.count} sessions"
        if self._rate.allows((entry.name, terms is not None and terms.resume)):
            return None
        return code, f"{entry.name} opens more than {self._limits.sessions_per_second} sessions a second"

    def _denied(self, request: ConnectionRequest, initiator: Initiator) -> tuple[Refusal, str] | None:
        """Ask the policy; return the refusal of a denied session, or None."""
        if initiator.session in self._kicks:
            return Refusal.UNAUTHORIZED, "ended by the operator"
        started = time.monotonic()
        ask = self._authorizer.resume if request.resumes else self._authorizer.connect
        decision = ask(request)  # an authorizer that raises denies: see FailClosed
        self._subscriber.decided(request, decision, time.monotonic() - started)
        if decision.allowed:
            return None
        if decision.busy:
            return Refusal.BUSY, decision.reason
        log.warning(
            "session %s from %s to %s:%s:%d denied: %s",
            request.session, request.source, request.gateway, request.host, request.port,
            decision.detail or decision.reason or UNAUTHORIZED,
            extra={"session": request.session, "gateway": request.gateway},
        )  # fmt: skip
        if decision.error:
            return Refusal.POLICY_ERROR, decision.reason or AUTHORIZATION_ERROR
        return Refusal.UNAUTHORIZED, decision.reason or UNAUTHORIZED

    def _refuse(
        self, entry: Peer, initiator: Initiator, code: Refusal, text: str, record: Record | None = None
    ) -> None:
        if record is not None:
            self._sessions.refused(record, code, text)
        answer(entry.link, Ack(initiator.session, False, text, code, path=initiator.path), initiator.session)


def answer(link: Link, message: Message, session: bytes) -> None:
    """Send an answer to a peer, after queued messages of the same session. A peer that reads none loses its link."""
    link.send(encode(message), session if link.queued(session) else None)


def _size(initiator: Initiator) -> int:
    """Return about how many bytes an unanswered Initiator occupies."""
    return 256 + len(initiator.host) + len(initiator.key) + len(initiator.gateway) + len(initiator.source)


def _granted(half: Half, terms: Terms) -> Terms:
    """Return the receiver's terms with the limit that the sender is granted."""
    return dataclasses.replace(terms, limit=half.grant(terms.received, terms.limit))


def _request(entry: Gateway, initiator: Initiator) -> ConnectionRequest:
    """Return the request to put to the policy."""
    return ConnectionRequest(
        host=initiator.host,
        port=initiator.port,
        gateway=initiator.gateway,
        key=initiator.key,
        source=entry.name,
        source_ip=entry.address,
        identity=entry.identity,
        session=session_text(initiator.session),
        resumes=initiator.terms is not None and initiator.terms.resume,
    )


def _record(request: ConnectionRequest, initiator: Initiator) -> Record:
    """Return the record of a session that has just been requested."""
    terms = initiator.terms
    return Record(
        session=initiator.session,
        facts=request.public(),
        resumes=request.resumes,
        received=terms.received if terms is not None else 0,
        asked=time.monotonic(),
        attempt=terms.attempt if terms is not None else 1,
    )
