from __future__ import annotations

import json
import re
from pathlib import Path

from gevent import socket

from hubble.events.syslog import SyslogLogger
from tests.support.samples import EVENTS

CLOSE = next(event for event in EVENTS if event.name == "CloseSession")
SCRIPT = next(event for event in EVENTS if event.name == "ScriptError")


def test_the_local_daemon_and_its_restart(tmp_path: Path) -> None:
    path = str(tmp_path / "log")
    logger = SyslogLogger(path)
    logger.log(CLOSE)
    assert logger.dropped == 1  # there is no daemon yet
    for _ in range(2):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
            daemon.bind(path)
            daemon.settimeout(5)
            logger.log(CLOSE)
            match = re.fullmatch(rb"<133>hubble\[\d+\]: (.*)", daemon.recv(10_000))
            assert match and json.loads(match[1])["session"] == CLOSE.session  # type: ignore[attr-defined]
        Path(path).unlink()
    assert logger.dropped == 1


def test_rfc_5424_over_udp() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as daemon:
        daemon.bind(("127.0.0.1", 0))
        daemon.settimeout(5)
        SyslogLogger(daemon.getsockname()).log(SCRIPT)
        text = daemon.recv(10_000).decode()
    match = re.fullmatch(r"<131>1 2026-11-28T05:16:53\.125000Z \S+ hubble \d+ ScriptError - (\{.*\})", text)
    assert match and json.loads(match[1])["event"] == "ScriptError"
