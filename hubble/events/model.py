"""The events. docs/events.md lists every field.

No event contains a key or a token. Events show a key's digest (hubble.policy.key_digest), or "" for no key.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from hubble.base.facts import PublicFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """An event. time: seconds since 1970. worker: the id of the worker that reports it."""

    time: float
    worker: str

    @property
    def name(self) -> str:
        """The name of the event's class."""
        return type(self).__name__


@dataclass(frozen=True, kw_only=True)
class _OfSession(PublicFacts, Event):
    """An event of one session."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenSession(_OfSession):
    """A session opened (`success`), or was refused for the reason in `error`.

    seconds: from the request to the answer.
    """

    success: bool
    error: str = ""
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseSession(_OfSession):
    """An open session ended.

    reason: "closed" if both applications ended their streams, otherwise the reason of the reset. detail: the same for
    people. duration: seconds since it opened. bytes_to_exit, bytes_to_entry: the size of its two streams. resumptions:
    how often it resumed.
    """

    reason: str
    detail: str = ""
    duration: float
    bytes_to_exit: int
    bytes_to_entry: int
    resumptions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSuspended(_OfSession):
    """A session lost its path; its agents keep it and look for another. reason: why the path was lost."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionResumed(_OfSession):
    """A session resumed. seconds: how long the proxy saw it suspended. resumptions: including this one."""

    seconds: float
    resumptions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationDenied(_OfSession):
    """The policy denied a session. reason: the policy's reason. resumes: the session was open before."""

    reason: str
    resumes: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayRegistration(Event):
    """An agent registered. address: its address, as the proxy sees it. identity: the identity that it proved, or "".

    resumable: its sessions survive the loss of their links; those of protocol 0.1 do not.
    """

    gateway: str
    address: str
    identity: str
    resumable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayUnregistration(Event):
    """A gateway is no longer registered. duration: how many seconds it was registered."""

    gateway: str
    address: str
    reason: str
    duration: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrationRefused(Event):
    """An agent was refused as `gateway`. code: the refusal's name. reason: the text that the agent received."""

    gateway: str
    address: str
    code: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptError(Event):
    """The policy failed, and so denied. session: its id, or "" for the registration of `gateway`."""

    session: str
    gateway: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyStarted(Event):
    """A worker started to serve. node: its machine's name. version: Hubble's version."""

    node: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyStopping(Event):
    """A worker is about to stop."""

    node: str


def _kinds(found: Iterable[object]) -> tuple[type[Event], ...]:
    kinds = [kind for kind in found if isinstance(kind, type) and issubclass(kind, Event)]
    return tuple(kind for kind in kinds if kind is not Event and not kind.__name__.startswith("_"))


KINDS = _kinds(list(globals().values()))
"""Every kind of event."""


class _Names:
    """The fields of each kind, in order; computed once."""

    known: ClassVar[dict[type[Event], tuple[str, ...]]] = {
        kind: tuple(field.name for field in dataclasses.fields(kind)) for kind in KINDS
    }


def as_dict(event: Event) -> dict[str, Any]:
    """Return `event` (the kind) and each field of an event as plain texts, numbers and booleans."""
    names = _Names.known.get(type(event)) or tuple(field.name for field in dataclasses.fields(event))
    return {"event": type(event).__name__, **{name: getattr(event, name) for name in names}}


def timestamp(moment: float) -> str:
    """Format a time in seconds since 1970 as in RFC 3339: in UTC, with microseconds."""
    whole, micro = divmod(round(moment * 1e6), 1_000_000)
    return f"{_second(whole)}.{micro:06d}Z"


_latest: tuple[int, str] = (-1, "")


def _second(whole: int) -> str:
    """Format one second, and remember the text: thousands of events can share a second."""
    global _latest
    known, text = _latest
    if known != whole:
        text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))
        _latest = (whole, text)
    return text
