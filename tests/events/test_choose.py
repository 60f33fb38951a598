from __future__ import annotations

from pathlib import Path

import pytest

from hubble.base.errors import UsageError
from hubble.events.choose import event_logger, shown_target
from hubble.events.files import FileLogger, StdoutLogger
from hubble.events.sqlite import SQLiteLogger
from hubble.events.syslog import SyslogLogger
from hubble.events.webhook import WebhookLogger


def test_each_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my_loggers.py").write_text("class Mine:\n    def log(self, event): pass\nclass Not: pass\n")
    assert isinstance(event_logger("stdout"), StdoutLogger)
    assert isinstance(event_logger("events.jsonl"), FileLogger)
    assert isinstance(event_logger(f"{tmp_path}/a:b"), FileLogger)
    assert isinstance(event_logger("sqlite:events.sqlite"), SQLiteLogger)
    assert isinstance(event_logger("syslog:"), SyslogLogger)
    assert isinstance(event_logger("syslog:[::1]:514"), SyslogLogger)
    assert isinstance(event_logger("https://example.com/hook", spool=tmp_path / "spool"), WebhookLogger)
    assert type(event_logger("python:my_loggers:Mine")).__name__ == "Mine"
    with pytest.raises(UsageError, match="it is not a class with a method log"):
        event_logger("python:my_loggers:Not")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "--events is empty; write stdout"),
        ("kafka:topic", "--events 'kafka:topic' names no logger; write stdout, PATH"),
        ("sqlite:", "names no logger; write stdout"),
        ("syslog:host", "the address is invalid; write syslog:"),
        ("syslog:host:70000", "the address is invalid; write syslog:"),
        ("python:json", "write python:package.module:Class"),
        ("python:no.such.module:Class", "cannot load no.such.module:Class: ModuleNotFoundError"),
    ],
)
def test_what_cannot_be_meant(text: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        event_logger(text)


def test_a_shown_target_has_no_secrets() -> None:
    assert shown_target("https://user:pw@example.com/hook?token=abc") == "https://example.com/hook"
    assert shown_target("sqlite:/var/events") == "sqlite:/var/events"
