"""Tiny chunks do not cost many times their size, and arrive as they were sent."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

from hubble.protocol.credit import LONGEST_PATH, Budget, Window
from hubble.protocol.streams import MANY, SHARE_KEPT, Incoming, Outgoing

COUNT = 50_000
MOST = 8 * COUNT
"""Bytes of memory for COUNT bytes; as objects of their own they took some 200 each."""


def growth(work: Callable[[], object]) -> int:
    """How much memory is in use after some work, and was not before."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        work()
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


def test_that_arrive_and_are_not_read() -> None:
    budget = Budget(1 << 30)
    incoming = Incoming(Window(budget, initial=1 << 20))

    def receive() -> None:
        for offset in range(COUNT):
            incoming.receive(offset, memoryview(bytes([offset % 251])), 0.0)

    assert growth(receive) < MOST
    received = b""
    while (chunk := incoming.take(1 << 16)) is not None:
        received += chunk
        incoming.consume(len(chunk))
    assert received == bytes(offset % 251 for offset in range(COUNT))


def test_that_are_sent_and_not_consumed() -> None:
    outgoing = Outgoing(Budget(1 << 30))
    outgoing.acknowledge(0, 1 << 20)

    def send() -> None:
        for offset in range(COUNT):
            outgoing.write(bytes([offset % 251]))
            assert outgoing.next_part(1 << 16) is not None

    assert growth(send) < MOST
    outgoing.acknowledge(20_000, 1 << 20)
    outgoing.rewind(30_001)
    again = b""
    while (part := outgoing.next_part(5_000)) is not None:
        assert part[0] == 30_001 + len(again)
        again += part[1]
    assert again == bytes(offset % 251 for offset in range(30_001, COUNT))


def test_what_was_given_out_does_not_change() -> None:
    outgoing = Outgoing(Budget(1 << 30))
    outgoing.acknowledge(0, 1 << 20)
    given, count = [], 3 * MANY
    for round_ in range(2):
        for number in range(count):
            if not round_:
                outgoing.write(bytes([number]))
            given.append(outgoing.next_part(1))
        outgoing.rewind(0)
    assert [part and (part[0], bytes(part[1])) for part in given] == 2 * [(n, bytes([n])) for n in range(count)]


def test_one_session_keeps_a_part_of_the_budget_only() -> None:
    budget = Budget(1 << 24)
    outgoing = Outgoing(budget)
    outgoing.acknowledge(0, 1 << 62)
    assert outgoing.room == (1 << 24) // SHARE_KEPT
    outgoing.write(bytes(outgoing.room))
    assert outgoing.room == 0 and not budget.exhausted


def test_a_round_trip_that_is_claimed_has_a_bound() -> None:
    window = Window(Budget(1 << 30), initial=1 << 16)
    window.new_path(1e9)
    window.arrived(1, 0.0)
    consumed = window.size // 2
    window.grant(consumed, LONGEST_PATH + 1)
    assert window.size == 1 << 16
