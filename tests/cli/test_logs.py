from __future__ import annotations

import json
import logging
import re

import pytest

from hubble.cli import logs

STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
log = logging.getLogger("hubble.some.module")


def lines(capfd: pytest.CaptureFixture[str]) -> list[str]:
    assert logs.flush()
    return capfd.readouterr().err.splitlines()


class TestText:
    def test_a_line_is_time_level_and_message(self, capfd: pytest.CaptureFixture[str]) -> None:
        logs.set_up("info", "text")
        log.info("gateway %s: registered", "agent1")
        log.warning("careful")
        first, second = lines(capfd)
        assert re.fullmatch(STAMP + " INFO    gateway agent1: registered", first)
        assert re.fullmatch(STAMP + " WARNING careful", second)

    def test_a_message_stays_on_its_line_and_steers_no_terminal(self, capfd: pytest.CaptureFixture[str]) -> None:
        logs.set_up("info", "text")
        log.info("two\nlines\r\x1b[2J\x9b2Jü")
        (line,) = lines(capfd)
        assert line.isprintable() and "two" in line and "lines" in line and line.endswith("ü")

    def test_an_exception_is_shown_whole(self, capfd: pytest.CaptureFixture[str]) -> None:
        logs.set_up("info", "text")
        try:
            raise ValueError("what was wrong")
        except ValueError:
            log.exception("it failed")
        first, *rest = lines(capfd)
        assert first.endswith("ERROR   it failed") and rest[-1] == "ValueError: what was wrong"

    def test_a_long_message_is_cut(self, capfd: pytest.CaptureFixture[str]) -> None:
        logs.set_up("info", "text")
        log.info("x" * (logs.LONGEST + 1))
        (line,) = lines(capfd)
        assert line.endswith(f" {'x' * logs.LONGEST}... ({logs.LONGEST + 1:,} characters)")

    def test_a_long_traceback_keeps_its_end(self, capfd: pytest.CaptureFixture[str]) -> None:
        logs.set_up("info", "text")
        try:
            raise ValueError("x" * logs.LONGEST_TRACEBACK + " was wrong")
        except ValueError:
            log.exception("it failed")
        _, traceback = lines(capfd)
        assert len(traceback) == logs.LONGEST_TRACEBACK and traceback.endswith("x was wrong")


class TestJSON:
    def test_a_line_is_an_object(self, capfd: pytest.CaptureFixture[str]) -> None:
        logs.set_up("info", "json")
        log.info("session %s:\nopen", "ü", extra={"session": "s-1", "gateway": "exit", "other": "not shown"})
        log.warning("plain")
        first, second = map(json.loads, lines(capfd))
        assert re.fullmatch(STAMP, first.pop("time"))
        assert first == {"level": "info", "message": "session ü:\nopen", "session": "s-1", "gateway": "exit"}
        assert set(second) == {"time", "level", "message"}

    def test_an_exception_is_a_field(self, capfd: pytest.CaptureFixture[str]) -> None:
        logs.set_up("info", "json")
        try:
            raise ValueError("what was wrong")
        except ValueError:
            log.exception("it failed")
        (line,) = lines(capfd)
        entry = json.loads(line)
        assert entry["message"] == "it failed" and "ValueError: what was wrong" in entry["exception"]


@pytest.mark.parametrize(
    "level, shown", [("debug", "dbg inf wrn err"), ("info", "inf wrn err"), ("warning", "wrn err"), ("error", "err")]
)
def test_levels(level: str, shown: str, capfd: pytest.CaptureFixture[str]) -> None:
    logs.set_up(level, "text")
    log.debug("dbg")
    log.info("inf")
    log.warning("wrn")
    log.error("err")
    assert [line.split()[-1] for line in lines(capfd)] == shown.split()


def test_other_libraries_speak_from_warning_on(capfd: pytest.CaptureFixture[str]) -> None:
    logs.set_up("debug", "text")
    logging.getLogger("somebody.else").info("chatter")
    logging.getLogger("somebody.else").warning("trouble")
    assert [line.split()[-1] for line in lines(capfd)] == ["trouble"]
