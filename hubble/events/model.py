"""What can happen, as far as others are told of it. docs/events.md lists every field.

Keys and tokens are in no event: a key is there as its digest (hubble.policy.key_digest), "" standing for none.
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
    """Something that happened. time: in seconds since 1970. worker: the id of the worker that saw it."""

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
    """A session was asked for, and is open (`success`) or was refused (`error` says why).

    seconds: from the request to the answer.
    """

    success: bool
    error: str = ""
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseSession(_OfSession):
    """A session that was open is over.

    reason: "closed" if both applications had ended their streams, else why it was reset; detail: the same for people.
    duration: seconds since it was opened. bytes_to_exit, bytes_to_entry: of its two streams. resumptions: how often
    its path was lost and found.
    """

    reason: str
    detail: str = ""
    duration: float
    bytes_to_exit: int
    bytes_to_entry: int
    resumptions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSuspended(_OfSession):
    """A session's path is lost; its agents keep it and look for another. reason: what became of the path."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionResumed(_OfSession):
    """A session goes on. seconds: how long it was suspended, as this proxy saw it. resumptions: this one included."""

    seconds: float
    resumptions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationDenied(_OfSession):
    """The policy has denied a session. reason: why, as far as the policy says. resumes: it had been open before."""

    reason: str
    resumes: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayRegistration(Event):
    """An agent has registered. address: its own as the proxy sees it. identity: whom it proved to be, "" if nobody.

    resumable: its sessions survive the loss of their links, which those of protocol 0.1 do not.
    """

    gateway: str
    address: str
    identity: str
    resumable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayUnregistration(Event):
    """A gateway is not registered any more. duration: seconds that it was."""

    gateway: str
    address: str
    reason: str
    duration: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrationRefused(Event):
    """An agent was not let in as `gateway`. code: the refusal's name, reason: what the agent was told."""

    gateway: str
    address: str
    code: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptError(Event):
    """The policy has failed, and so has denied. session: the one it was about, "" for the registration of `gateway`."""

    session: str
    gateway: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyStarted(Event):
    """A worker serves. node: its machine's name. version: Hubble's."""

    node: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyStopping(Event):
    """A worker is about to end."""

    node: str


def _kinds(found: Iterable[object]) -> tuple[type[Event], ...]:
    kinds = [kind for kind in found if isinstance(kind, type) and issubclass(kind, Event)]
    return tuple(kind for kind in kinds if kind is not Event and not kind.__name__.startswith("_"))


KINDS = _kinds(list(globals().values()))
"""Every kind of event there is."""


class _Names:
    """The fields of each kind, in order: looked up once."""

    known: ClassVar[dict[type[Event], tuple[str, ...]]] = {
        kind: tuple(field.name for field in dataclasses.fields(kind)) for kind in KINDS
    }


def as_dict(event: Event) -> dict[str, Any]:
    """`event` (its kind) and each of its fields, as plain texts, numbers and booleans."""
    names = _Names.known.get(type(event)) or tuple(field.name for field in dataclasses.fields(event))
    return {"event": type(event).__name__, **{name: getattr(event, name) for name in names}}


def timestamp(moment: float) -> str:
    """A time in seconds since 1970 as RFC 3339 has it: in UTC, with microseconds."""
    whole, micro = divmod(round(moment * 1e6), 1_000_000)
    return f"{_second(whole)}.{micro:06d}Z"


_latest: tuple[int, str] = (-1, "")


def _second(whole: int) -> str:
    """The text of one second, remembered: thousands of events may happen in it."""
    global _latest
    known, text = _latest
    if known != whole:
        text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))
        _latest = (whole, text)
    return text
