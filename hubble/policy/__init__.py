"""PLACEHOLDER by the lead, to run the proxy before the real package lands: its owner overwrites it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class ConnectionRequest:
    host: str = ""
    port: int = 0
    gateway: str = ""
    key: str = field(default="", repr=False)
    source: str = ""
    source_ip: str = ""
    identity: str = ""
    session: str = ""
    resumes: bool = False


@dataclass(frozen=True)
class RegistrationRequest:
    name: str
    key: str = field(default="", repr=False)
    address: str = ""


@dataclass(frozen=True)
class Decision:
    allowed: bool
    reason: str = ""
    error: bool = False
    detail: str = ""


class Authorizer:
    def connect(self, request: ConnectionRequest) -> Decision:
        raise NotImplementedError

    def resume(self, request: ConnectionRequest) -> Decision:
        return self.connect(request)

    def register(self, request: RegistrationRequest) -> Decision:
        return Decision(True)


class GrantAll(Authorizer):
    def connect(self, request: ConnectionRequest) -> Decision:
        return Decision(True)


class DenyAll(Authorizer):
    def connect(self, request: ConnectionRequest) -> Decision:
        return Decision(False, "Unauthorized")


class LuaPolicy(Authorizer):
    def __init__(self, path: str) -> None:
        raise NotImplementedError
