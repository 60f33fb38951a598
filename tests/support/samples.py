"""One event of each kind."""

from __future__ import annotations

from typing import Any

from hubble.events import (
    AuthorizationDenied,
    CloseSession,
    Event,
    GatewayRegistration,
    GatewayUnregistration,
    OpenSession,
    ProxyStarted,
    ProxyStopping,
    RegistrationRefused,
    ScriptError,
    SessionResumed,
    SessionSuspended,
)

WHEN: dict[str, Any] = {"time": 1795843013.125, "worker": "4f1c9d2ab07e6635"}
SESSION: dict[str, Any] = {
    "session": "0b8f7a52-6c1e-4f0b-9a53-2f1f6f0c9d11", "source": "laptop", "source_ip": "203.0.113.7",
    "identity": "alice", "gateway": "office", "host": "10.0.0.5", "port": 22, "key": "9f2c51d04ab7",
}  # fmt: skip
EVENTS: list[Event] = [
    ProxyStarted(**WHEN, node="proxy1", version="0.2.0"),
    GatewayRegistration(**WHEN, gateway="office", address="198.51.100.4", identity="", resumable=True),
    RegistrationRefused(
        **WHEN, gateway="office", address="192.0.2.9", code="name_taken",
        reason="the name office is taken by another agent that is online",
    ),
    OpenSession(**WHEN, **SESSION, success=True, error="", seconds=0.018),
    AuthorizationDenied(**WHEN, **SESSION, reason="Unauthorized", resumes=False),
    ScriptError(
        **WHEN, session=SESSION["session"], gateway="office", detail="policy.lua:7: attempt to index a nil value"
    ),
    SessionSuspended(**WHEN, **SESSION, reason="silent for 40 s"),
    SessionResumed(**WHEN, **SESSION, seconds=2.5, resumptions=1),
    CloseSession(
        **WHEN, **SESSION, reason="closed", detail="", duration=86.5, bytes_to_exit=5120, bytes_to_entry=1048576,
        resumptions=1,
    ),
    GatewayUnregistration(
        **WHEN, gateway="office", address="198.51.100.4", reason="the other side closed the connection", duration=3600.5
    ),
    ProxyStopping(**WHEN, node="proxy1"),
]  # fmt: skip
