"""The proxy's log: one line for each thing that happened, and none where nothing does."""

from __future__ import annotations

import logging
import re

import gevent
import pytest

from hubble.events import CloseSession, RegistrationRefused, SessionResumed
from hubble.policy import FunctionPolicy, guarded
from tests.support.tunnels import Tunnel, exchange, finish


def lines(caplog: pytest.LogCaptureFixture, about: str = "") -> list[str]:
    """What the proxy has said about sessions, at info and above."""
    return [
        re.sub(r"[0-9a-f]{8}-[-0-9a-f]{27}", "ID", record.getMessage())
        for record in caplog.records
        if record.name.startswith("hubble.proxy") and record.levelno >= logging.INFO and about in record.getMessage()
    ]


def test_one_line_for_each_thing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "hubble")
    with Tunnel() as tunnel:
        sock = tunnel.open()
        gateway = tunnel.proxy.gateways.get("entry")
        assert gateway is not None
        gateway.link.abort("cut by the test")
        tunnel.logger.wait(SessionResumed)
        exchange(sock, b"more")
        finish(sock)
        closed = tunnel.logger.wait(CloseSession)
        destination = f"127.0.0.1:{tunnel.echo.server_port}"
        said = lines(caplog, "session ")
        assert said[:2] == [
            f"session ID opened from entry to exit, {destination}",
            "session ID suspended: cut by the test",
        ]
        assert re.fullmatch(r"session ID resumed after 0\.\d s", said[2])
        assert re.fullmatch(r"session ID closed after \d\.\d s, 9 bytes to the exit, 9 to the entry", said[3])
        assert len(said) == 4
        fields = [
            (vars(r)["session"], vars(r)["gateway"])
            for r in caplog.records
            if "session ID" in re.sub(closed.session, "ID", r.msg)
        ]
        assert all(pair == (closed.session, "exit") for pair in fields)
        assert [line.split(" ")[2].rstrip(":") for line in lines(caplog, "gateway entry")] == [
            "registered", "unregistered", "registered",
        ]  # fmt: skip


def test_a_denial_has_one_line_and_so_has_a_taken_name(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "hubble")
    with Tunnel(guarded(FunctionPolicy(lambda request: False))) as tunnel:
        with tunnel.connect() as sock, pytest.raises(ConnectionResetError):
            sock.recv(1)
        tunnel.agent("entry", registered=False)
        tunnel.logger.wait(RegistrationRefused)
        assert len(lines(caplog, "session ")) == 1
        assert len(lines(caplog, "refused")) == len(tunnel.logger.all(RegistrationRefused))


def test_a_quiet_proxy_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with Tunnel() as tunnel:
        sock = tunnel.open()
        gevent.sleep(0.2)
        caplog.clear()
        caplog.set_level(logging.INFO, "hubble")
        gevent.sleep(6.0)  # long enough for everything that happens regularly
        assert not lines(caplog)
        sock.close()
