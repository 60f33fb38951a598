from __future__ import annotations

import dataclasses
import itertools
import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hubble.base.errors import UsageError
from hubble.events import as_dict
from hubble.events.files import FileLogger, LineLogger
from tests.support.samples import EVENTS

FULL = Path("/dev/full")


def test_lines_of_json(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text("before\n")
    logger = FileLogger(path)
    logger.log_all(EVENTS)
    logger.log(EVENTS[0])
    logger.close()
    first, *lines = path.read_text().splitlines()
    assert first == "before"
    assert [json.loads(line)["event"] for line in lines] == [event.name for event in [*EVENTS, EVENTS[0]]]
    assert {key for line in lines for key in json.loads(line)} >= set(as_dict(EVENTS[0]))


def test_reopening_follows_a_rotation(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    logger = FileLogger(path)
    logger.log(EVENTS[0])
    path.rename(tmp_path / "old")
    logger.log(EVENTS[1])
    logger.reopen()
    logger.log(EVENTS[2])
    logger.close()
    assert len((tmp_path / "old").read_text().splitlines()) == 2
    assert [json.loads(line)["event"] for line in path.read_text().splitlines()] == [EVENTS[2].name]


def test_a_directory_that_went_away_leaves_the_old_file_in_use(tmp_path: Path) -> None:
    directory = tmp_path / "logs"
    directory.mkdir()
    logger = FileLogger(directory / "events")
    directory.rename(tmp_path / "moved")
    with pytest.raises(UsageError, match="cannot write the event file"):
        logger.reopen()
    logger.log(EVENTS[0])
    logger.close()
    assert (tmp_path / "moved" / "events").read_text().count("\n") == 1


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
def test_a_full_disk_is_survived_and_counted(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    logger = FileLogger(FULL)
    for _ in range(3):
        logger.log_all(EVENTS)
    assert logger.dropped == 3 * len(EVENTS)
    said = [record.message for record in caplog.records]
    assert said == ["cannot write events to /dev/full: No space left on device"]
    logger._path = tmp_path / "events"
    logger.reopen()
    logger.log(EVENTS[0])
    assert "writing events to /dev/full works again; 33 events lost" in caplog.records[-1].message
    assert len((tmp_path / "events").read_text().splitlines()) == 1


def test_a_line_torn_by_a_full_disk_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "events"
    script = f"""
import json, resource, signal
from pathlib import Path
from hubble.events.files import FileLogger
from tests.support.samples import EVENTS
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
logger = FileLogger(Path({str(path)!r}))
resource.setrlimit(resource.RLIMIT_FSIZE, (300, {resource.RLIM_INFINITY}))  # as if the disk were full then
logger.log_all(EVENTS[:3])
resource.setrlimit(resource.RLIMIT_FSIZE, ({resource.RLIM_INFINITY},) * 2)
logger.log_all(EVENTS[3:5])
print(logger.dropped)
"""
    dropped = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=20, check=True)
    whole, torn = [], 0
    for line in path.read_text().splitlines():
        try:
            whole.append(json.loads(line)["event"])
        except ValueError:
            torn += 1
    assert torn == 1
    assert whole == [event.name for event in (*EVENTS[: 3 - int(dropped.stdout)], *EVENTS[3:5])]
    assert signal.SIGXFSZ and os.path.getsize(path) > 300


PIPED = """
import dataclasses, sys
from hubble.events.files import StdoutLogger
from tests.support.samples import EVENTS
name = sys.argv[1] * 40
events = [dataclasses.replace(event, worker=name) for event in EVENTS] * 40
logger = StdoutLogger()
print("ready", file=sys.stderr, flush=True)
sys.stdin.read(1)
for _ in range(25):
    logger.log_all(events)
assert logger.dropped == 0
"""


def test_two_processes_write_whole_lines_to_one_pipe() -> None:
    ours, theirs = os.pipe()
    settings: Any = {"stdin": subprocess.PIPE, "stdout": theirs, "stderr": subprocess.PIPE}
    writers: list[Any] = [subprocess.Popen([sys.executable, "-c", PIPED, name], **settings) for name in ("one", "two")]
    os.close(theirs)
    try:
        for writer in writers:
            assert writer.stderr.readline() == b"ready\n"
        for writer in writers:  # both at once
            writer.stdin.write(b"!")
            writer.stdin.close()
        with open(ours, "rb") as pipe:
            events = [json.loads(line) for line in pipe]
        assert [writer.wait(20) for writer in writers] == [0, 0]
    finally:
        for writer in writers:
            writer.kill()
            writer.stderr.close()
            writer.wait()
    for name in ("one", "two"):
        told = [event["event"] for event in events if event["worker"] == name * 40]
        assert told == [event.name for event in EVENTS] * 40 * 25
    turns = sum(event["worker"] != after["worker"] for event, after in itertools.pairwise(events))
    assert turns > 10  # they did write at the same time


def test_a_line_too_long_for_a_pipe_is_written_all_the_same() -> None:
    ours, theirs = os.pipe()
    events = [
        dataclasses.replace(EVENTS[0], worker=letter * size) for letter, size in (("a", 9), ("b", 9000), ("c", 9))
    ]
    LineLogger(theirs, "a pipe").log_all(events)
    lines = os.read(ours, 65536).splitlines()
    assert [json.loads(line)["worker"] for line in lines] == [event.worker for event in events]
    os.close(ours)
    os.close(theirs)


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot write the event file .*/none/events: No such file"):
        FileLogger(tmp_path / "none" / "events")
