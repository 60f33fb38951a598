"""What is known of each session for those who look on: events, metrics, and the answers to an operator.

The proxy needs no memory of a session whose path is lost, but an auditor wants one account of it from its first
opening to its end. So a record outlives its route, for a while. Each session has one record, at the worker of its
entry: the exit's worker, if it is another, keeps none. A session resumed at another worker takes its record along.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from uuid import UUID

import gevent

from hubble.events import (
    AuthorizationDenied,
    CloseSession,
    Events,
    GatewayRegistration,
    GatewayUnregistration,
    OpenSession,
    RegistrationRefused,
    ScriptError,
    SessionResumed,
    SessionSuspended,
)
from hubble.policy import ConnectionRequest, Decision, key_digest
from hubble.policy.request import printable
from hubble.protocol.messages import Ack, Initiator, Refusal, ResetReason
from hubble.proxy.gateways.gateway import Gateway
from hubble.proxy.sessions.routes import Route
from hubble.proxy.watch.metrics import Metrics
from hubble.proxy.watch.record import TO_ENTRY, TO_EXIT, Record, route_of, say
from hubble.transport.peer import Peer

log = logging.getLogger(__name__)

SUSPENDED_TIMEOUT = 120.0
"""Seconds after which a suspended session is taken for dead: its agents wait for 60, unless told otherwise."""
MAX_SUSPENDED = 20_000
KICKED = 10_000
RETRIED = (Refusal.NO_GATEWAY, Refusal.BUSY)
"""Refusals after which the entry tries again to resume, or to open a session while its link is young."""

TakeElsewhere = Callable[[str], Mapping[str, Any] | None]


class Audit:
    """Is told by the proxy's parts what happens; `events` and `metrics` are told in turn.

    `take_elsewhere` asks the other workers for the record of a session that resumes here (`give_up` at theirs).
    """

    def __init__(
        self,
        worker: str,
        events: Events,
        metrics: Metrics,
        *,
        take_elsewhere: TakeElsewhere | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.worker = worker
        self.events = events
        self.metrics = metrics
        self.totals = Counter[tuple[str, bool]]()
        """Of routes that are gone: ("bytes" or "messages", direction)."""
        self.stalled = 0.0
        """Seconds for which credit was kept back, of routes that are gone."""
        self._take_elsewhere = take_elsewhere
        self._clock = clock
        self._records: dict[bytes, Record] = {}
        self._suspended: OrderedDict[bytes, Record] = OrderedDict()
        self._kicked: OrderedDict[bytes, None] = OrderedDict()
        self._registered: dict[Gateway, float] = {}

    # Looking.

    def __iter__(self) -> Iterator[Record]:
        return iter(self.all())

    def all(self) -> list[Record]:
        """The records of all sessions that are open or suspended here, as of now."""
        return list(self._records.values())

    def get(self, session: bytes) -> Record | None:
        """The record of a session that is open or suspended here, or None."""
        return self._records.get(session)

    @property
    def suspended(self) -> int:
        """How many sessions wait for a path."""
        return len(self._suspended)

    @property
    def open(self) -> int:
        """How many sessions have one."""
        return len(self._records) - len(self._suspended)

    def registered_at(self, gateway: Gateway) -> float:
        """When a gateway that is here registered, in seconds since 1970."""
        return self._registered.get(gateway, 0.0)

    def was_kicked(self, session: bytes) -> bool:
        """Whether an operator has ended the session: it must not be resumed."""
        return session in self._kicked

    def kick(self, session: bytes) -> None:
        """The session is to end, wherever it is."""
        self._kicked[session] = None
        if len(self._kicked) > KICKED:
            self._kicked.popitem(last=False)
        record = self._suspended.get(session)
        if record is not None:
            self._close(record, "revoked", "ended by the operator")

    # Gateways.

    def registered(self, gateway: Gateway) -> None:
        """An agent has its name."""
        now = self._registered[gateway] = self._clock()
        self.metrics.registrations.labels("registered").inc()
        self.events.log(
            GatewayRegistration(
                time=now, worker=self.worker, gateway=gateway.name, address=gateway.address, identity=gateway.identity,
                resumable=gateway.resumable,
            )
        )  # fmt: skip

    def registration_refused(self, gateway: Gateway, refusal: Ack) -> None:
        """An agent was not let in."""
        code = refusal.code.name.lower()
        self.metrics.registrations.labels(code).inc()
        self.events.log(
            RegistrationRefused(
                time=self._clock(), worker=self.worker, gateway=gateway.name, address=gateway.address, code=code,
                reason=refusal.message,
            )
        )  # fmt: skip

    def script_failed(self, session: str, gateway: str, detail: str) -> None:
        """The policy has failed, on a session or, if that is "", on the registration of a gateway."""
        self.events.log(
            ScriptError(time=self._clock(), worker=self.worker, session=session, gateway=gateway, detail=detail)
        )

    def unregistered(self, gateway: Gateway, why: str) -> None:
        """A gateway is gone, or its name belongs to another link now."""
        since = self._registered.pop(gateway, None)
        if since is not None:
            now = self._clock()
            self.events.log(
                GatewayUnregistration(
                    time=now, worker=self.worker, gateway=gateway.name, address=gateway.address, reason=why,
                    duration=now - since,
                )
            )  # fmt: skip

    # Opening.

    def decided(self, request: ConnectionRequest, decision: Decision, seconds: float) -> None:
        """The policy has answered."""
        name = "failed" if decision.error else "granted" if decision.allowed else "denied"
        self.metrics.authorization.labels(name).observe(seconds)
        if decision.allowed:
            return
        reason = decision.detail or decision.reason
        if decision.error:
            self.script_failed(request.session, request.gateway, reason)
        self.events.log(
            AuthorizationDenied(
                time=self._clock(), worker=self.worker, session=request.session, source=request.source,
                source_ip=request.source_ip, identity=request.identity, gateway=request.gateway, host=request.host,
                port=request.port, key=key_digest(request.key), reason=reason, resumes=request.resumes,
            )
        )  # fmt: skip

    def refused(self, entry: Peer, initiator: Initiator, code: Refusal, text: str, asked: float) -> None:
        """An agent's request did not get as far as the exit."""
        if isinstance(entry, Gateway):
            self._not_opened(self._record(entry, initiator, asked), code, text)

    def proposed(self, route: Route, initiator: Initiator, asked: float) -> None:
        """An agent's request is passed on to the exit."""
        if isinstance(route.entry, Gateway):
            route.record = self._record(route.entry, initiator, asked)

    def answered(self, route: Route, ack: Ack) -> None:
        """The exit has answered, or is gone; if it has accepted, the route is laid."""
        record = route.record
        if record is None:
            return
        if not ack.ok:
            self._not_opened(record, ack.code, ack.message)
            return
        known = self._records.get(record.session)
        if known is None and not record.resumes:
            self._opened(record, route)
            return
        if known is None:
            known = self._records[record.session] = record
            record.opened = self._clock()
        self._resumed(known, route, to_exit=ack.terms.received if ack.terms else 0, to_entry=record.received)

    def _record(self, entry: Gateway, initiator: Initiator, asked: float) -> Record:
        return Record(
            session=initiator.session,
            source=entry.name,
            source_ip=entry.address,
            identity=entry.identity,
            gateway=initiator.gateway,
            host=initiator.host,
            port=initiator.port,
            key=key_digest(initiator.key),
            resumes=initiator.terms is not None and initiator.terms.resume,
            received=initiator.terms.received if initiator.terms is not None else 0,
            asked=asked,
            attempt=initiator.terms.attempt if initiator.terms is not None else 1,
        )

    def _not_opened(self, record: Record, code: Refusal, text: str) -> None:
        if not record.resumes:
            if record.attempt > 1 and code in RETRIED:
                return  # it was told of at the first attempt
            result = code.name.lower()
            self.metrics.requests.labels(result).inc()
            if code not in (Refusal.UNAUTHORIZED, Refusal.POLICY_ERROR):  # the denial has a line of its own
                say(record, "%s: not opened: %s", route_of(record), printable(text))
            self._log_open(record, text or result)
            return
        known = self._records.get(record.session)
        if known is not None and known.source == record.source and code not in RETRIED:
            self._close(known, code.name.lower(), text)

    def _opened(self, record: Record, route: Route) -> None:
        self._attach(record, route)
        self._records[record.session] = record
        record.opened = self._clock()
        self.metrics.requests.labels("opened").inc()
        say(record, "%s: open", route_of(record))
        self._log_open(record, "")

    def _log_open(self, record: Record, error: str) -> None:
        seconds = time.monotonic() - record.asked
        self.metrics.setup.observe(seconds)
        self.events.log(
            OpenSession(
                time=self._clock(), worker=self.worker, **record.facts(), success=not error, error=error,
                seconds=seconds,
            )
        )  # fmt: skip

    # Going on.

    def _resumed(self, record: Record, route: Route, *, to_exit: int, to_entry: int) -> None:
        known_here = record is not route.record
        self._detach(record)
        record.base = [to_exit, to_entry]
        self._attach(record, route)
        self._suspended.pop(record.session, None)
        since, record.suspended = record.suspended, None
        record.resumptions += 1
        self.metrics.resumptions.inc()
        if known_here or self._take_elsewhere is None:
            self._log_resumed(record, since)
        else:
            record.moving = gevent.spawn(self._move_here, record)

    def _move_here(self, record: Record) -> None:
        """Take over what another worker knows of the session, then tell that it was resumed."""
        assert self._take_elsewhere is not None
        known = self._take_elsewhere(record.id) or {}
        record.opened = known.get("opened", record.opened)
        record.resumptions += known.get("resumptions", 0)
        record.ends = list(known.get("ends", record.ends))
        self._log_resumed(record, known.get("suspended"))

    def _log_resumed(self, record: Record, since: float | None) -> None:
        now = self._clock()
        say(record, "resumed%s", f" after {now - since:.1f} s" if since else "")
        self.events.log(
            SessionResumed(
                time=now, worker=self.worker, **record.facts(), seconds=max(0.0, now - since) if since else 0.0,
                resumptions=record.resumptions,
            )
        )  # fmt: skip

    def give_up(self, session: str) -> dict[str, Any] | None:
        """The session was resumed at another worker: what is known of it here, which forgets it."""
        record = self._records.get(UUID(session).bytes)
        if record is None or record.moving is not None:
            return None
        self._forget(record)
        return {
            "opened": record.opened,
            "resumptions": record.resumptions,
            "suspended": record.suspended,
            "ends": record.ends,
        }

    def stream_ends(self, route: Route, from_exit: bool, offset: int) -> None:
        """One of the streams ends at this offset."""
        if route.record is not None:
            route.record.ends[from_exit] = offset

    def path_lost(self, route: Route, why: str) -> None:
        """A route is gone. A session of protocol 0.1 ends with it; others wait for another."""
        record = self._of(route)
        if record is None:
            return
        if not route.resumable:
            self._close(record, "path_lost", why)
            return
        self._detach(record)
        now = record.suspended = self._clock()
        self._suspended[record.session] = record
        self.metrics.suspensions.inc()
        say(record, "suspended: %s", why)
        self.events.log(SessionSuspended(time=now, worker=self.worker, **record.facts(), reason=why))
        if len(self._suspended) > MAX_SUSPENDED:
            self._close(next(iter(self._suspended.values())), "not_resumed", "too many sessions are suspended")

    # Ending.

    def closed(self, route: Route) -> None:
        """Both ends are done."""
        record = self._of(route)
        if record is not None:
            self._close(record, "closed")

    def reset(self, route: Route, reason: ResetReason, text: str) -> None:
        """One of the ends, or the proxy, has reset the session."""
        record = self._of(route)
        if record is not None:
            self._close(record, reason.name.lower(), text)

    def expire(self) -> None:
        """Time has passed: sessions that were not resumed are over."""
        horizon = self._clock() - SUSPENDED_TIMEOUT
        while self._suspended:
            record = next(iter(self._suspended.values()))
            if (record.suspended or 0.0) > horizon:
                return
            self._close(record, "not_resumed", "not resumed in time")

    def _close(self, record: Record, reason: str, detail: str = "") -> None:
        self._forget(record)
        self.metrics.closed.labels(reason).inc()
        if record.moving is not None and not record.moving.ready():
            record.moving.rawlink(lambda _: self._log_close(record, reason, detail))
        else:
            self._log_close(record, reason, detail)

    def _log_close(self, record: Record, reason: str, detail: str) -> None:
        now = self._clock()
        say(
            record, "%s after %.1f s, %d bytes to the exit, %d to the entry",
            reason if reason == "closed" else f"ended ({printable(detail) or reason})",
            now - record.opened, record.passed(TO_EXIT), record.passed(TO_ENTRY),
        )  # fmt: skip
        self.events.log(
            CloseSession(
                time=now, worker=self.worker, **record.facts(), reason=reason, detail=detail,
                duration=max(0.0, now - record.opened), bytes_to_exit=record.passed(TO_EXIT),
                bytes_to_entry=record.passed(TO_ENTRY), resumptions=record.resumptions,
            )
        )  # fmt: skip

    # Inner workings.

    def _of(self, route: Route) -> Record | None:
        """The record of the session whose way this route still is."""
        record = self._records.get(route.session)
        return record if record is not None and record.route is route else None

    def _attach(self, record: Record, route: Route) -> None:
        route.record = record
        record.route = route

    def _detach(self, record: Record) -> None:
        """The record's route is its way no longer: its counts go into the totals."""
        route, record.route = record.route, None
        if route is None:
            return
        for direction in (TO_EXIT, TO_ENTRY):
            record.base[direction] += route.passed[direction]
            self.totals["bytes", direction] += route.passed[direction]
            self.totals["messages", direction] += route.messages[direction]
        self.stalled += route.stalled

    def _forget(self, record: Record) -> None:
        self._detach(record)
        self._records.pop(record.session, None)
        self._suspended.pop(record.session, None)
