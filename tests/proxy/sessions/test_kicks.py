"""The kicked sessions that a worker remembers."""

from __future__ import annotations

from typing import Any

import pytest

from hubble.proxy.sessions import kicks as kicks_module
from hubble.proxy.sessions.kicks import Kicks


class NoSessions:
    def get(self, session: bytes) -> None:
        return None


def test_the_oldest_are_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kicks_module, "KICKED", 2)
    absent: Any = None
    sessions: Any = NoSessions()
    kicks = Kicks(absent, sessions, absent, absent)
    for session in (b"a", b"b", b"c"):
        assert not kicks.session(session)
    assert [session in kicks for session in (b"a", b"b", b"c")] == [False, True, True]
