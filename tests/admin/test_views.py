"""Looking on at a crowd of sessions: it holds up nobody, counts everything once, and is done once for several pages."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from gevent.event import Event

from hubble.admin import lists, live
from hubble.admin.lists import first_keys, fitting
from hubble.admin.live import LiveViews, Shared
from hubble.admin.service import Admin
from hubble.admin.views import FLOWS, Views
from hubble.base import slices
from hubble.base.slices import CHUNK
from hubble.protocol.direction import TO_ENTRY, TO_EXIT
from hubble.proxy.sessions.routes import Route
from hubble.proxy.watch.history import LENGTH
from tests.support.crowd import populate
from tests.support.tunnels import Tunnel, eventually

SESSIONS = 1_000
QUERY = {
    "search": "", "state": "", "gateway": "", "sort": "since", "descending": True, "offset": 0, "limit": 50,
    "gateways_offset": 0,
}  # fmt: skip


@pytest.fixture
def tunnel() -> Iterator[Tunnel]:
    """A proxy with a crowd of sessions, each of which has carried 3 bytes to its exit and 4 to its entry."""
    with Tunnel(with_agents=False) as tunnel:
        populate(tunnel.proxy, SESSIONS, gateways=500)
        sessions, (one, other, *_) = tunnel.proxy.sessions, tunnel.proxy.gateways
        for record in sessions:
            if record.suspended is None:
                route = Route(record.session, one, other, record.facts.source, record.facts.gateway, resumable=True)
                for half, passed, messages in zip(route.halves, (3, 4), (1, 2), strict=True):
                    half.passed, half.messages = passed, messages
                sessions._attach(record, route)
        eventually(lambda: len(tunnel.proxy.watch.latest.latest(SESSIONS)) == SESSIONS, "the events are told")
        yield tunnel


@pytest.fixture
def admin(tunnel: Tunnel) -> Admin:
    return Admin(Views(tunnel.proxy), tunnel.proxy.me, None, {}, lambda seconds: None)


@pytest.mark.parametrize(
    ("look", "least"),
    [
        (lambda proxy, admin: admin.sessions({**QUERY, "search": "office"}), SESSIONS / CHUNK + 50),
        (lambda proxy, admin: admin.gateways({**QUERY, "sort": "name"}), 500 / CHUNK + 50),
        (lambda proxy, admin: admin.flows(), SESSIONS / CHUNK + FLOWS),
        (lambda proxy, admin: admin.history(), 2 * LENGTH),
        (lambda proxy, admin: admin.events(limit=100), 2 * 100),
        (lambda proxy, admin: admin.metrics(), SESSIONS / CHUNK + 3 * 20),
        (
            lambda proxy, admin: proxy.watch.history.sample(proxy.gateways, proxy.sessions, 5.0),
            2 * SESSIONS / CHUNK + 500 / CHUNK,
        ),
    ],
    ids=["sessions", "gateways", "flows", "history", "events", "metrics", "a point of the history"],
)
def test_others_have_their_turns_meanwhile(
    tunnel: Tunnel,
    admin: Admin,
    look: Callable[[Any, Admin], object],
    least: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(slices, "SLICE", 0.0)
    turns = 0

    def others() -> None:
        nonlocal turns
        while True:
            slices.others_first()
            turns += 1

    greenlet = gevent.spawn(others)
    look(tunnel.proxy, admin)
    greenlet.kill()
    assert turns >= least - 2


def test_a_session_that_ends_while_all_are_counted_counts_once(tunnel: Tunnel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "SLICE", 0.0)
    sessions, totals = tunnel.proxy.sessions, tunnel.proxy.watch.totals
    before = totals.with_open(sessions)
    assert before.bytes[TO_EXIT] * 4 == before.bytes[TO_ENTRY] * 3 > 0
    ended = random.Random(1).sample([record for record in sessions if record.route is not None], 500)

    def end() -> None:
        for record in ended:
            slices.others_first()
            assert record.route is not None
            sessions.closed(record.route)

    greenlet = gevent.spawn(end)
    for _ in range(len(ended)):
        assert totals.with_open(sessions) == before
    assert greenlet.ready()  # it had its turns while that was counted
    assert totals.with_open(sessions) == before and totals.bytes[TO_ENTRY] == 4 * len(ended)


def test_rates_cover_the_time_since_the_last_sample(tunnel: Tunnel) -> None:
    history, gateways, sessions = tunnel.proxy.watch.history, tunnel.proxy.gateways, tunnel.proxy.sessions
    history.sample(gateways, sessions, 5.0)
    busy, idle = [record for record in sessions if record.route is not None][:2]
    assert busy.route is not None
    busy.route.halves[TO_EXIT].passed += 500
    history.sample(gateways, sessions, 5.0)
    assert (busy.rate, idle.rate) == ((100.0, 0.0), (0.0, 0.0))
    assert (history.points[-1].to_exit, history.points[-1].to_entry) == (100.0, 0.0)
    history.sample(gateways, sessions, 5.0)
    assert busy.rate == (0.0, 0.0)


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("size", [0, 1, 49, 50, 51, 1000])
def test_the_first_keys_are_those_of_all_sorted(size: int, descending: bool) -> None:
    items = random.Random(size).choices(range(300), k=size)  # many are equal in what they are sorted by
    keys = [(item // 10, item) for item in items]
    total, first = first_keys(items, 50, lambda item: (item // 10, item), descending=descending)
    assert (total, first) == (size, sorted(keys, reverse=descending)[:50])
    total, first = first_keys(items, 50, lambda item: (0, item), descending=descending, wanted=lambda item: item > 200)
    chosen = [item for item in items if item > 200]
    assert (total, [item for _, item in first]) == (len(chosen), sorted(chosen, reverse=descending)[:50])


@pytest.mark.parametrize("text", ["plain", "\N{GRINNING FACE}\N{GRINNING FACE}", '""""', "\x00\x01"])
def test_rows_are_cut_to_what_has_room(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"name": text * 10, "number": 0.1234567890123456, "nothing": None, "so": False}
    size = len(json.dumps(row))
    for room in (1, size, 3 * size, 3 * size + size - 1):
        monkeypatch.setattr(lists, "LIST_SIZE", room)
        assert len(fitting([row] * 10)) == max(1, room // size)
    assert len(fitting(iter([row, row]))) == 2 and fitting([]) == []
    assert lists._size_at_most(row) >= size


def test_pages_that_want_the_same_share_it(admin: Admin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "FRESH", 60.0)
    asked: list[Any] = []

    def sessions(query: dict[str, Any]) -> dict[str, Any]:
        asked.append(query["search"])
        return {"total": 0, "items": []}

    monkeypatch.setattr(admin, "sessions", sessions)
    streams = LiveViews(admin)
    pages = [streams.follow({**QUERY, "search": search}, lambda seconds: False) for search in ("", "x", "", "x", "")]
    views = [json.loads(next(page).partition(b"data: ")[2]) for page in pages]
    assert asked == ["", "x"]
    assert all(len(view["history"]) >= 179 and len(view["events"]) == 100 for view in views)  # each page's own
    for page in pages:
        page.close()  # type: ignore[attr-defined]
    assert not streams._open


def test_shared_parts_do_not_get_old_and_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    shared = Shared()
    assert shared.get("part", lambda: {"value": 1}) == {"value": b"1"}
    assert shared.get("part", lambda: {"value": 2}) == {"value": b"1"}
    monkeypatch.setattr(live, "FRESH", 0.0)
    assert shared.get("part", lambda: {"value": 3}) == {"value": b"3"}
    for number in range(100):
        shared.get(f"part {number}", lambda: {"value": 4})
    assert len(shared._known) == 1


def test_who_waits_for_slow_work_gets_what_it_comes_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "FRESH", 0.02)
    shared, finish = Shared(), Event()
    done: list[Any] = []

    def work() -> dict[str, int]:
        finish.wait()
        done.append(None)
        return {"value": len(done)}

    pages = [gevent.spawn(shared.get, "part", work) for _ in range(3)]
    gevent.sleep(2 * live.FRESH)  # longer than an answer is fresh
    finish.set()
    gevent.joinall(pages)
    assert [page.value for page in pages] == [{"value": b"1"}] * 3


def test_all_pages_get_their_views_at_the_same_moments() -> None:
    for now in (100.0, 100.3, 101.4, 101.9, 101.99):
        wait = live._until_next(now)
        assert 0.5 < wait <= 2.5 and (now + wait) % 2.0 == pytest.approx(0.0)
