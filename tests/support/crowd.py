"""Many gateways and sessions at a proxy that has none: what it would know of them."""

from __future__ import annotations

import random
import time
import uuid
from typing import Any, cast

from hubble.base.facts import PublicFacts
from hubble.events import OpenSession
from hubble.protocol.direction import TO_ENTRY, TO_EXIT
from hubble.proxy.gateways.gateway import Gateway
from hubble.proxy.proxy import Proxy
from hubble.proxy.sessions.record import Record
from hubble.proxy.watch.history import INTERVAL, LENGTH, Point

ENTRIES = ["laptop-anna", "laptop-jonas", "ci-runner-1", "ci-runner-2", "backup", "monitoring", "phone-mia", "kiosk"]
EXITS = ["office-berlin", "warehouse", "lab", "db-replica", "home-lea", "plant-3", "archive"]
SERVICES = [("127.0.0.1", 22), ("10.0.0.5", 5432), ("nas.internal", 445), ("10.1.4.20", 3389), ("git.internal", 443)]


class FakeLink:
    """A link that says how it is, and carries nothing."""

    closed = False
    why = ""
    queued_bytes = 0

    def __init__(self, round_trip: float) -> None:
        self.round_trip = round_trip

    def close(self, code: int, reason: str) -> None:
        self.closed = True

    abort = close


def populate(proxy: Proxy, sessions: int, *, gateways: int = 0, seed: int = 1) -> None:
    """Have a proxy that serves look busy: so many sessions, and 15 minutes of history."""
    chance = random.Random(seed)
    names = [*ENTRIES, *EXITS, *(f"sensor-{number:04d}" for number in range(gateways - len(ENTRIES) - len(EXITS)))]
    for name in names:
        _gateway(proxy, name, chance)
    entries = [*ENTRIES, *names[len(ENTRIES) + len(EXITS) :]]
    for _ in range(sessions):
        _session(proxy, chance.choices(entries, [40 / (1 + n) for n in range(len(entries))])[0], chance)
    _history(proxy, sessions, chance)


def _gateway(proxy: Proxy, name: str, chance: random.Random) -> None:
    gateway = Gateway(
        cast(Any, FakeLink(chance.uniform(0.004, 0.06))), name, True, address=f"203.0.113.{chance.randrange(254)}"
    )
    proxy.gateways._by_name[name] = gateway
    gateway.since = time.time() - chance.uniform(60, 400_000)
    proxy.watch.registered(gateway)


def _session(proxy: Proxy, source: str, chance: random.Random) -> None:
    host, port = chance.choice(SERVICES)
    now = time.time()
    session = uuid.UUID(int=chance.getrandbits(128))
    facts = PublicFacts(
        session=str(session), source=source, source_ip="203.0.113.9",
        identity=chance.choice(["", "", "anna@example.com", "deploy"]), gateway=_exit_of(source, chance), host=host,
        port=port,
    )  # fmt: skip
    record = Record(
        session=session.bytes, facts=facts, resumes=False, received=0, asked=0.0,
        opened=now - chance.expovariate(1 / 4000),
        resumptions=chance.choice([0, 0, 0, 0, 1, 2]), rate=(chance.expovariate(1 / 9e4), chance.expovariate(1 / 4e5)),
        base=[int(chance.expovariate(1 / 4e6)), int(chance.expovariate(1 / 9e7))],
    )  # fmt: skip
    record.measured = record.passed(TO_EXIT), record.passed(TO_ENTRY)
    sessions = proxy.sessions
    sessions._records[record.session] = record
    if chance.random() < 0.02:
        record.suspended = now - 3
        sessions._suspended[record.session] = record
    event = OpenSession(time=now, worker=proxy.me.id, **vars(facts), success=True, seconds=0.02)
    proxy.watch.events.log(event)


def _exit_of(source: str, chance: random.Random) -> str:
    """Each entry has its favourites."""
    first = sum(map(ord, source)) % len(EXITS)
    return EXITS[(first + chance.choice([0, 0, 0, 0, 2, 2, 3])) % len(EXITS)]


def _history(proxy: Proxy, sessions: int, chance: random.Random) -> None:
    history = proxy.watch.history
    last = int(time.time() // INTERVAL * INTERVAL)
    to_exit, to_entry, round_trip = 9e6, 4.2e7, 0.018
    for number in range(LENGTH):
        to_exit = max(1e6, to_exit * chance.uniform(0.9, 1.11))
        to_entry = max(5e6, to_entry * chance.uniform(0.92, 1.09))
        round_trip = min(0.06, max(0.009, round_trip * chance.uniform(0.93, 1.075)))
        lag = chance.expovariate(1 / 0.002)
        moment = last - (LENGTH - 1 - number) * int(INTERVAL)
        history.points.append(Point(moment, sessions, 15, to_exit, to_entry, round_trip, lag))
