"""The records of the sessions whose entry is at this worker, including suspended ones.

Relaying needs no memory of a session whose path is lost, but operators want one record of a session from its opening
to its end. So a record outlives its route for a while. Each session has one record, at the worker of its entry; the
exit's worker, if it is another, keeps none. When a session resumes at another worker, its record moves there.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from uuid import UUID

import gevent

from hubble.protocol.direction import TO_ENTRY, TO_EXIT, Direction
from hubble.protocol.messages import Ack, Refusal, ResetReason
from hubble.proxy.sessions.record import Record
from hubble.proxy.sessions.routes import Route
from hubble.proxy.subscriber import Subscriber

SUSPENDED_TIMEOUT = 120.0
"""Seconds after which a suspended session counts as dead: by default its agents wait for 60."""
EXPIRY_INTERVAL = 5.0
"""Seconds between two searches for suspended sessions that have expired."""
MAX_SUSPENDED = 20_000
TAKE_TIMEOUT = 3.0
"""Seconds within which another worker must hand over the record of a session."""
RETRIED = (Refusal.NO_GATEWAY, Refusal.BUSY)
"""Refusals after which the entry retries to resume a session, or to open one while its link is young."""

TakeElsewhere = Callable[[str], Mapping[str, Any] | None]


class SessionRegistry:
    """The records of sessions that are open or suspended. `subscriber` receives their events.

    `take_elsewhere` fetches the record of a session that resumes here from the other workers, which call `give_up`.
    """

    def __init__(self, subscriber: Subscriber, *, take_elsewhere: TakeElsewhere | None = None) -> None:
        self._subscriber = subscriber
        self._take_elsewhere = take_elsewhere
        self._records: dict[bytes, Record] = {}
        self._suspended: OrderedDict[bytes, Record] = OrderedDict()

    def __iter__(self) -> Iterator[Record]:
        return iter(self.all())

    def all(self) -> list[Record]:
        """Return a snapshot of the records of all open and suspended sessions."""
        return list(self._records.values())

    def get(self, session: bytes) -> Record | None:
        """Return the record of an open or suspended session, or None."""
        return self._records.get(session)

    @property
    def suspended(self) -> int:
        """Return the number of sessions that wait for a path."""
        return len(self._suspended)

    @property
    def open(self) -> int:
        """Return the number of sessions that have a path."""
        return len(self._records) - len(self._suspended)

    # Opening.

    def answered(self, route: Route, ack: Ack) -> None:
        """Record the exit's answer, or its loss. After an accepting Ack, the route must be in place already."""
        record = route.record
        if record is None:
            return
        if not ack.ok:
            self.refused(record, ack.code, ack.message)
            return
        known = self._records.get(record.session)
        if known is None and not record.resumes:
            self._opened(record, route)
            return
        if known is None:
            known = self._records[record.session] = record
            record.opened = time.time()
        self._resumed(known, route, to_exit=ack.terms.received if ack.terms else 0, to_entry=record.received)

    def refused(self, record: Record, code: Refusal, text: str) -> None:
        """Record that a session was not opened, or not resumed."""
        result = code.name.lower()
        if not record.resumes:
            if record.attempt == 1 or code not in RETRIED:  # the first attempt has reported the refusal
                self._subscriber.refused(record, result, text)
            return
        known = self._records.get(record.session)
        if known is not None and known.facts.source == record.facts.source and code not in RETRIED:
            self.close(known, result, text)

    def _opened(self, record: Record, route: Route) -> None:
        self._attach(record, route)
        self._records[record.session] = record
        record.opened = time.time()
        self._subscriber.opened(record)

    # Resuming.

    def _resumed(self, record: Record, route: Route, *, to_exit: int, to_entry: int) -> None:
        known_here = record is not route.record
        self._detach(record)
        record.base = [to_exit, to_entry]
        self._attach(record, route)
        self._suspended.pop(record.session, None)
        since, record.suspended = record.suspended, None
        record.resumptions += 1
        self._subscriber.path_found(record)
        if known_here or self._take_elsewhere is None:
            self._subscriber.resumed(record, since)
        else:
            record.moving = gevent.spawn(self._move_here, record)

    def _move_here(self, record: Record) -> None:
        """Take over the record of another worker, then report the resumption."""
        assert self._take_elsewhere is not None
        known = self._take_elsewhere(record.facts.session) or {}
        record.opened = known.get("opened", record.opened)
        record.resumptions += known.get("resumptions", 0)
        record.ends = list(known.get("ends", record.ends))
        self._subscriber.resumed(record, known.get("suspended"))

    def give_up(self, session: str) -> dict[str, Any] | None:
        """Forget a session that has resumed at another worker; return its record for that worker, or None."""
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

    def stream_ends(self, route: Route, direction: Direction, offset: int) -> None:
        """Record the offset at which a stream ends."""
        if route.record is not None:
            route.record.ends[direction] = offset

    def path_lost(self, route: Route, why: str) -> None:
        """Record the loss of a route. A session of protocol 0.1 ends; others are suspended until they resume."""
        record = self._of(route)
        if record is None:
            return
        if not route.resumable:
            self.close(record, "path_lost", why)
            return
        self._detach(record)
        record.suspended = time.time()
        self._suspended[record.session] = record
        self._subscriber.suspended(record, why)
        if len(self._suspended) > MAX_SUSPENDED:
            self.close(next(iter(self._suspended.values())), "not_resumed", "too many sessions are suspended")

    # Ending.

    def closed(self, route: Route) -> None:
        """Record that both ends have finished."""
        record = self._of(route)
        if record is not None:
            self.close(record, "closed")

    def reset(self, route: Route, reason: ResetReason, text: str) -> None:
        """Record that one of the ends, or the proxy, has reset the session."""
        record = self._of(route)
        if record is not None:
            self.close(record, reason.name.lower(), text)

    def expire_regularly(self) -> None:
        """Call `expire` each EXPIRY_INTERVAL until killed."""
        while True:
            gevent.sleep(EXPIRY_INTERVAL)
            self.expire()

    def expire(self) -> None:
        """Close the sessions that were suspended for SUSPENDED_TIMEOUT."""
        horizon = time.time() - SUSPENDED_TIMEOUT
        while self._suspended:
            record = next(iter(self._suspended.values()))
            if (record.suspended or 0.0) > horizon:
                return
            self.close(record, "not_resumed", "not resumed in time")

    def close(self, record: Record, reason: str, detail: str = "") -> None:
        """Forget a session that has ended, and report its end."""
        self._forget(record)
        self._subscriber.closed(record, reason, detail)
        if record.moving is not None and not record.moving.ready():
            record.moving.rawlink(lambda _: self._subscriber.accounted(record, reason, detail))
        else:
            self._subscriber.accounted(record, reason, detail)

    # Records and routes.

    def _of(self, route: Route) -> Record | None:
        """Return the record of the route's session, or None if the session has another route now."""
        record = self._records.get(route.session)
        return record if record is not None and record.route is route else None

    def _attach(self, record: Record, route: Route) -> None:
        route.record = record
        record.route = route

    def _detach(self, record: Record) -> None:
        """Detach the record from its route, keeping the byte counts."""
        route, record.route = record.route, None
        if route is None:
            return
        for direction in (TO_EXIT, TO_ENTRY):
            record.base[direction] += route.halves[direction].passed
        self._subscriber.detached(route)

    def _forget(self, record: Record) -> None:
        self._detach(record)
        self._records.pop(record.session, None)
        self._suspended.pop(record.session, None)
