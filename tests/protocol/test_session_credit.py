"""Credit: what a receiver allows, and when it says so."""

from __future__ import annotations

from hubble.protocol.credit import INITIAL_WINDOW, SMALLEST_WINDOW, Budget, Window
from hubble.protocol.messages import Stream
from hubble.protocol.session import LATE_CREDIT, Session
from hubble.protocol.states import PathState
from tests.protocol.pair import ENDS, KIB, SECRET, SESSION, Pair


def test_more_than_the_credit_is_a_protocol_error_of_this_session() -> None:
    pair = Pair.opened(window=40 * KIB)
    pair.deliver(pair.exit, [Stream(SESSION, False, 0, bytes(40 * KIB + 1))])
    assert pair.flow()[0].startswith("exit RESET PROTOCOL_ERROR")
    assert pair.events() == ["entry Ended PROTOCOL_ERROR", "exit Ended PROTOCOL_ERROR"]
    assert pair.budgets == (0, 0)


def test_a_sender_stays_within_its_credit() -> None:
    pair = Pair.opened(window=40 * KIB)
    total = 0
    for _ in range(10):
        while room := min(pair.entry.room, 7 * KIB):
            pair.entry.write(bytes(room))
            total += room
        pair.flow()
        assert pair.exit.waiting <= 40 * KIB
        pair.read(pair.exit)
        pair.flow()
    assert total >= 200 * KIB


def test_little_credit_is_told_late() -> None:
    pair = Pair.opened()
    pair.entry.write(b"key")
    pair.flow()
    pair.read(pair.exit)
    assert pair.flow() == []
    assert pair.exit.deadline == pair.now + LATE_CREDIT
    pair.wait(LATE_CREDIT)
    assert pair.flow() == ["exit CREDIT 3 65539"]
    assert pair.exit.deadline is None
    assert pair.keep.taken == 0


def test_telling_credit_late_leaves_the_session_its_time() -> None:
    pair = Pair.opened(resume_timeout=60.0)
    pair.entry.write(b"key")
    pair.flow()
    pair.read(pair.exit)
    pair.lose_path()
    assert pair.exit.deadline == pair.now + LATE_CREDIT
    pair.wait(LATE_CREDIT)
    assert pair.exit.deadline == pair.now - LATE_CREDIT + 60.0
    assert pair.exit.path is PathState.WAITING


def test_a_session_without_any_budget_goes_on() -> None:
    keep, allow = Budget(100), Budget(0)
    keep.charge(1000)  # other sessions have it all
    pair = Pair()
    for name in ENDS:
        from_exit = name == "exit"
        end = Session(SESSION, from_exit=from_exit, secret=SECRET, window=Window(Budget(1 << 30)), keep=keep)
        setattr(pair, name, end)
    assert pair.exit.incoming.limit == INITIAL_WINDOW > SMALLEST_WINDOW
    assert pair.connect()
    carried = 0
    for _ in range(10):
        while pair.entry.room:
            pair.entry.write(bytes(pair.entry.room))
            pair.flow()
            carried += len(pair.read(pair.exit))
            pair.flow()
        pair.wait(LATE_CREDIT)
        pair.flow()
    assert carried >= 10 * SMALLEST_WINDOW
    assert allow.taken == 0
