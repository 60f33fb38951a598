"""Turns the events of a proxy into event records, metrics and log lines."""

from __future__ import annotations

import logging
import time

from hubble.events.feed import Events
from hubble.events.model import (
    AuthorizationDenied,
    CloseSession,
    GatewayRegistration,
    GatewayUnregistration,
    OpenSession,
    RegistrationRefused,
    ScriptError,
    SessionResumed,
    SessionSuspended,
)
from hubble.policy import ConnectionRequest, Decision
from hubble.policy.request import printable
from hubble.protocol.direction import TO_ENTRY, TO_EXIT
from hubble.protocol.messages import Ack
from hubble.proxy.gateways.gateway import Gateway
from hubble.proxy.sessions.record import Record
from hubble.proxy.sessions.routes import Route
from hubble.proxy.subscriber import Subscriber
from hubble.proxy.watch.counts import Totals
from hubble.proxy.watch.metrics import Metrics
from hubble.transport.endpoint import endpoint

log = logging.getLogger(__name__)

DENIALS = ("unauthorized", "policy_error")
"""Refusals that the opener has already logged."""


class Reporter(Subscriber):
    """Reports to `events` and `metrics`; `worker` is the worker id in the event records."""

    def __init__(self, worker: str, events: Events, metrics: Metrics) -> None:
        self.events = events
        self.metrics = metrics
        self.totals = Totals()
        self._worker = worker

    # Gateways.

    def registered(self, gateway: Gateway) -> None:
        self.metrics.registrations.labels("registered").inc()
        self.events.log(
            GatewayRegistration(
                time=time.time(), worker=self._worker, gateway=gateway.name, address=gateway.address,
                identity=gateway.identity, resumable=gateway.resumable,
            )
        )  # fmt: skip

    def registration_refused(self, gateway: Gateway, refusal: Ack) -> None:
        code = refusal.code.name.lower()
        self.metrics.registrations.labels(code).inc()
        self.events.log(
            RegistrationRefused(
                time=time.time(), worker=self._worker, gateway=gateway.name, address=gateway.address, code=code,
                reason=refusal.message,
            )
        )  # fmt: skip

    def unregistered(self, gateway: Gateway, why: str) -> None:
        now = time.time()
        self.events.log(
            GatewayUnregistration(
                time=now, worker=self._worker, gateway=gateway.name, address=gateway.address, reason=why,
                duration=now - gateway.since,
            )
        )  # fmt: skip

    # Policy.

    def decided(self, request: ConnectionRequest, decision: Decision, seconds: float) -> None:
        name = "failed" if decision.error else "granted" if decision.allowed else "busy" if decision.busy else "denied"
        self.metrics.authorization.labels(name).observe(seconds)
        if decision.allowed or decision.busy:
            return
        reason = decision.detail or decision.reason
        if decision.error:
            self.policy_failed(request.session, request.gateway, reason)
        self.events.log(
            AuthorizationDenied(
                time=time.time(), worker=self._worker, **vars(request.public()), reason=reason,
                resumes=request.resumes,
            )
        )  # fmt: skip

    def policy_failed(self, session: str, gateway: str, detail: str) -> None:
        self.events.log(
            ScriptError(time=time.time(), worker=self._worker, session=session, gateway=gateway, detail=detail)
        )

    # Sessions.

    def refused(self, record: Record, result: str, text: str) -> None:
        self.metrics.requests.labels(result).inc()
        if result not in DENIALS:
            _log_session(record, "not opened from %s: %s", _ends_of(record), printable(text))
        self._log_open(record, text or result)

    def opened(self, record: Record) -> None:
        self.metrics.requests.labels("opened").inc()
        _log_session(record, "opened from %s", _ends_of(record))
        self._log_open(record, "")

    def _log_open(self, record: Record, error: str) -> None:
        seconds = time.monotonic() - record.asked
        self.metrics.setup.observe(seconds)
        self.events.log(
            OpenSession(
                time=time.time(), worker=self._worker, **vars(record.facts), success=not error, error=error,
                seconds=seconds,
            )
        )  # fmt: skip

    def suspended(self, record: Record, why: str) -> None:
        self.metrics.suspensions.inc()
        _log_session(record, "suspended: %s", why)
        self.events.log(
            SessionSuspended(time=record.suspended or 0.0, worker=self._worker, **vars(record.facts), reason=why)
        )

    def path_found(self, record: Record) -> None:
        self.metrics.resumptions.inc()

    def resumed(self, record: Record, since: float | None) -> None:
        now = time.time()
        _log_session(record, "resumed%s", f" after {now - since:.1f} s" if since else "")
        self.events.log(
            SessionResumed(
                time=now, worker=self._worker, **vars(record.facts), seconds=max(0.0, now - since) if since else 0.0,
                resumptions=record.resumptions,
            )
        )  # fmt: skip

    def closed(self, record: Record, reason: str, detail: str) -> None:
        self.metrics.closed.labels(reason).inc()

    def accounted(self, record: Record, reason: str, detail: str) -> None:
        now = time.time()
        to_exit, to_entry = record.passed(TO_EXIT), record.passed(TO_ENTRY)
        _log_session(
            record, "%s after %.1f s, %d bytes to the exit, %d to the entry",
            reason if reason == "closed" else f"ended ({printable(detail) or reason})",
            now - record.opened, to_exit, to_entry,
        )  # fmt: skip
        self.events.log(
            CloseSession(
                time=now, worker=self._worker, **vars(record.facts), reason=reason, detail=detail,
                duration=max(0.0, now - record.opened), bytes_to_exit=to_exit, bytes_to_entry=to_entry,
                resumptions=record.resumptions,
            )
        )  # fmt: skip

    def detached(self, route: Route) -> None:
        self.totals.add(route)


def _ends_of(record: Record) -> str:
    """Return the session's source, gateway and destination as text for people."""
    facts = record.facts
    return printable(f"{facts.source} to {facts.gateway}, {endpoint(facts.host, facts.port)}")


def _log_session(record: Record, text: str, *values: object) -> None:
    """Log an event of a session."""
    fields = {"session": record.facts.session, "gateway": record.facts.gateway}
    log.info(f"session %s {text}", record.facts.session, *values, extra=fields)
