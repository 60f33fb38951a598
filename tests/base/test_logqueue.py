"""Lines that wait for whoever reads a descriptor."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress

import gevent
import pytest

from hubble.base.logqueue import LogQueue
from tests.support.talk import PATIENCE
from tests.support.waiting import poll


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)
    os.close(writer)


def lost(count: int) -> bytes:
    return b"%d lost\n" % count


def test_lines_come_whole_and_in_order(pipe: tuple[int, int]) -> None:
    queue = LogQueue(pipe[1], lost)
    for number in range(1000):
        queue.put(b"line %d\n" % number)
    assert queue.flush(PATIENCE)
    assert os.read(pipe[0], 65536) == b"".join(b"line %d\n" % number for number in range(1000))


def test_a_full_pipe_stops_nobody_and_what_was_dropped_is_told(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    queue = LogQueue(writer, lost, max_lines=100, max_bytes=1 << 20)
    started, turns = time.monotonic(), 0
    for number in range(3000):
        queue.put(b"%04d" % number + b"x" * 996 + b"\n")
        if number % 100 == 0:
            gevent.sleep(0.001)
            turns += 1
    assert turns == 30 and time.monotonic() - started < PATIENCE
    assert queue.dropped > 2000
    assert not queue.flush(0.05)

    os.set_blocking(reader, False)
    received = b""

    def told() -> bool:
        nonlocal received
        try:
            received += os.read(reader, 65536)
        except BlockingIOError:
            return b"lost" in received
        return False

    poll(told, PATIENCE, "the dropped lines are reported")
    lines = received.splitlines()
    counts = [int(line.split()[0]) for line in lines if line.endswith(b"lost")]
    assert sum(counts) == queue.dropped
    assert len(lines) - len(counts) == 3000 - queue.dropped
    queue.put(b"goes on\n")
    assert queue.flush(PATIENCE)


def test_bytes_are_bounded(pipe: tuple[int, int]) -> None:
    queue = LogQueue(pipe[1], lost, max_bytes=200_000)
    for _ in range(1000):
        queue.put(b"x" * 9999 + b"\n")
    assert queue.dropped >= 1000 - 200_000 // 10_000 - 65536 // 10_000 - 1


def test_a_full_disk_is_counted() -> None:
    with open("/dev/full", "wb") as full:
        queue = LogQueue(full.fileno(), lost)
        queue.put(b"line\n")
        assert queue.flush(PATIENCE)
        assert queue.dropped == 1


def test_a_descriptor_that_another_process_has_made_non_blocking(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    os.set_blocking(writer, False)
    queue = LogQueue(writer, lost)
    for _ in range(100):
        queue.put(b"x" * 999 + b"\n")
    got = b""
    os.set_blocking(reader, False)

    def all_there() -> bool:
        nonlocal got
        with suppress(BlockingIOError):
            got += os.read(reader, 65536)
        return len(got) == 100_000

    poll(all_there, PATIENCE, "every line comes")


def test_a_process_whose_reader_sleeps_ends(pipe: tuple[int, int]) -> None:
    code = """
from gevent import monkey
monkey.patch_all()
import logging
from hubble.cli import logs, strays
strays.catch()
logs.set_up("info", "json")
for n in range(100):
    logging.getLogger("hubble").info("x" * 4000)
print("done", flush=True)
"""
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=pipe[1], timeout=PATIENCE)
    assert done.stdout == b"done\n" and done.returncode == 0
