"""From an Initiator to a route: the policy is asked, the gateway found, and the exit answers."""

from __future__ import annotations

import dataclasses
import logging
import secrets
import time

from hubble.mesh.peer import WorkerPeer
from hubble.policy import Authorizer, ConnectionRequest, Decision
from hubble.protocol.codec import InvalidInitiator, encode, session_text
from hubble.protocol.legacy.words import AUTHORIZATION_ERROR, NO_GATEWAY, UNAUTHORIZED
from hubble.protocol.messages import (
    Ack,
    Initiator,
    Refusal,
    ResetReason,
    Suspend,
    Terminator,
)
from hubble.proxy.gateways.gateway import Gateway
from hubble.proxy.gateways.limits import AbuseLimits, Meter
from hubble.proxy.gateways.registry import Gateways
from hubble.proxy.sessions.ending import lost_message, reset_message
from hubble.proxy.sessions.kicks import Kicks
from hubble.proxy.sessions.record import Record
from hubble.proxy.sessions.registry import Sessions
from hubble.proxy.sessions.routes import Route, Routes
from hubble.proxy.subscriber import Subscriber
from hubble.transport.peer import Peer

log = logging.getLogger(__name__)

NOT_YOURS = "the session belongs to other agents"
UNKNOWN = "the session is unknown there"


class Opening:
    """Opens routes. The texts of its refusals are protocol 0.1's (docs/protocol.md)."""

    def __init__(
        self,
        gateways: Gateways,
        routes: Routes,
        sessions: Sessions,
        kicks: Kicks,
        authorizer: Authorizer,
        subscriber: Subscriber,
        limits: AbuseLimits,
    ) -> None:
        self._limits = limits
        self._rate = Meter(limits.sessions_per_second, 2 * limits.sessions_per_second)
        self._gateways = gateways
        self._routes = routes
        self._authorizer = authorizer
        self._sessions = sessions
        self._kicks = kicks
        self._subscriber = subscriber

    def initiate(self, entry: Gateway, initiator: Initiator) -> None:
        """An agent asks for a session. The policy may take its time: run this in a greenlet of its own."""
        request = _request(entry, initiator)
        record = _record(request, initiator)
        over_limit = self._over_limit(entry, initiator, request)
        if over_limit:
            self._refuse(entry, initiator, *over_limit, record)
            return
        asking = self._routes.of(entry).asking
        asking.add(initiator.session)
        try:
            denied = self._denied(request, initiator)
        finally:
            asking.discard(initiator.session)
        if denied:
            self._refuse(entry, initiator, *denied, record)
            return
        exit_peer = self._gateways.find(initiator.gateway)
        if exit_peer is None:
            self._refuse(entry, initiator, Refusal.NO_GATEWAY, NO_GATEWAY, record)
        elif entry is exit_peer and (initiator.terms is None or not entry.resumable):
            self._refuse(entry, initiator, Refusal.BAD_REQUEST, "an agent of protocol 0.1 cannot reach itself", record)
        else:
            own = dataclasses.replace(initiator, path=0, source=entry.name)
            self._propose(entry, exit_peer, own, request, record)

    def refuse_invalid(self, entry: Peer, error: InvalidInitiator) -> None:
        """Refuse a session whose Initiator is invalid. Raises the error if its entry sends too many."""
        if not self._rate.allows((entry.name, False)):
            raise error
        log.warning("session %s: refused: its Initiator by %s is invalid: %s",
                    session_text(error.session), entry.name, error)  # fmt: skip
        ack = Ack(error.session, False, str(error), Refusal.BAD_REQUEST, path=error.path)
        entry.link.send(encode(ack), error.session)

    def pass_in(self, entry: Peer, initiator: Initiator) -> None:
        """Another worker, which has asked the policy, passes an Initiator on to a gateway that is here."""
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
            destination=initiator.gateway,
            path=secrets.randbits(62) + 1 if extended or exit_peer.is_worker else 0,
            entry_path=initiator.path,
            request=request,
            record=record,
        )
        if self._routes.would_steal(route):
            self._refuse(entry, initiator, Refusal.BAD_REQUEST, NOT_YOURS, record)
            return
        if initiator.terms is not None and initiator.terms.resume and not exit_peer.resumable:
            # To an exit of protocol 0.1 it would be a new session, for which the policy has not been asked.
            self._refuse(entry, initiator, Refusal.UNKNOWN_SESSION, UNKNOWN, record)
            return
        self._routes.propose(route)
        passed_on = dataclasses.replace(initiator, path=route.path)
        if not extended and not exit_peer.is_worker:  # protocol 0.1 is told nothing that it does not know
            passed_on = dataclasses.replace(passed_on, terms=None, source="")
        exit_peer.link.send(encode(passed_on), initiator.session)

    def acknowledge(self, exit_peer: Peer, ack: Ack) -> None:
        """An exit has answered an Initiator."""
        route = self._routes.answered(exit_peer, ack.session, ack.path)
        if route is None:
            self._turn_down(exit_peer, ack)
            return
        route.resumable = ack.terms is not None
        if ack.ok and route.entry.link.closed:
            exit_peer.link.send(encode(lost_message(route, of_exit=False)), route.session)
            return
        if ack.ok and self._routes.would_steal(route):  # they have opened it since the route was proposed
            refused = reset_message(route, of_exit=False, reason=ResetReason.REFUSED, text=NOT_YOURS)
            exit_peer.link.send(encode(refused), route.session)
            ack = Ack(route.session, False, NOT_YOURS, Refusal.BAD_REQUEST)
        if ack.ok:
            self._routes.lay(route)
        self._sessions.answered(route, ack)
        if ack.code is Refusal.NO_GATEWAY and isinstance(exit_peer, WorkerPeer):
            self._gateways.not_there(route.destination, exit_peer)
        route.entry.link.send(encode(dataclasses.replace(ack, path=route.entry_path)), route.session)

    def _turn_down(self, exit_peer: Peer, ack: Ack) -> None:
        """Nobody waits for the answer any more. An exit that is not told keeps the session, and its connection."""
        if ack.ok and self._routes.get(ack.session) is None and not self._routes.is_proposed_to(exit_peer, ack.session):
            message = Terminator(ack.session) if ack.terms is None else Suspend(ack.session, False)
            exit_peer.link.send(encode(message), ack.session)

    def exit_lost(self, exit_peer: Peer) -> None:
        """The exit's link is gone: its unanswered Initiators are refused."""
        for route in list(self._routes.of(exit_peer).proposals.values()):
            self._routes.withdraw(route)
            if route.exit is exit_peer and not route.entry.link.closed:
                ack = Ack(route.session, False, NO_GATEWAY, Refusal.NO_GATEWAY, path=route.entry_path)
                self._sessions.answered(route, ack)
                route.entry.link.send(encode(ack), route.session)

    def _over_limit(
        self, entry: Gateway, initiator: Initiator, request: ConnectionRequest
    ) -> tuple[Refusal, str] | None:
        """Which limit the session would pass, or None.

        That it resumes is only what its entry says, so it counts as well. All of an agent's sessions may resume at
        once, however, or ask again for an exit that is late: what then comes too fast is told to come again. What
        resumes has a meter of its own.
        """
        if self._routes.of(entry).has_other_sessions(initiator.session, self._limits.sessions):
            return Refusal.LIMIT, f"{entry.name} has {self._limits.sessions} sessions already"
        if self._rate.allows((entry.name, request.resumes)):
            return None
        is_first = initiator.terms is None or initiator.terms.attempt <= 1
        code = Refusal.LIMIT if is_first else Refusal.BUSY
        return code, f"{entry.name} opens more than {self._limits.sessions_per_second} sessions a second"

    def _denied(self, request: ConnectionRequest, initiator: Initiator) -> tuple[Refusal, str] | None:
        """Why the session is denied, or None."""
        if initiator.session in self._kicks:
            return Refusal.UNAUTHORIZED, "ended by the operator"
        started = time.monotonic()
        decision = self._ask(request)
        self._subscriber.decided(request, decision, time.monotonic() - started)
        if decision.allowed:
            return None
        log.warning(
            "session %s: %s to %s:%s:%d denied: %s",
            request.session, request.source, request.gateway, request.host, request.port,
            decision.detail or decision.reason or UNAUTHORIZED,
            extra={"session": request.session, "gateway": request.gateway},
        )  # fmt: skip
        if decision.error:
            return Refusal.POLICY_ERROR, decision.reason or AUTHORIZATION_ERROR
        return Refusal.UNAUTHORIZED, decision.reason or UNAUTHORIZED

    def _ask(self, request: ConnectionRequest) -> Decision:
        """The policy's decision; a policy that raises denies."""
        try:
            return self._authorizer.resume(request) if request.resumes else self._authorizer.connect(request)
        except Exception as error:  # an operator's own code: whatever it raises, the session is not granted
            log.exception("session %s: the policy failed", request.session)
            return Decision(False, AUTHORIZATION_ERROR, error=True, detail=f"{type(error).__name__}: {error}")

    def _refuse(
        self, entry: Peer, initiator: Initiator, code: Refusal, text: str, record: Record | None = None
    ) -> None:
        if record is not None:
            self._sessions.refused(record, code, text)
        entry.link.send(encode(Ack(initiator.session, False, text, code, path=initiator.path)), initiator.session)


def _request(entry: Gateway, initiator: Initiator) -> ConnectionRequest:
    """What the policy is asked."""
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
    """What is remembered of a session that was asked for just now."""
    terms = initiator.terms
    return Record(
        session=initiator.session,
        facts=request.public(),
        resumes=request.resumes,
        received=terms.received if terms is not None else 0,
        asked=time.monotonic(),
        attempt=terms.attempt if terms is not None else 1,
    )
