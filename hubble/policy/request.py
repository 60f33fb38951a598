"""What an authorizer is asked, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from hubble.base.facts import PublicFacts, SessionFacts
from hubble.policy.digest import key_digest

UNAUTHORIZED = "Unauthorized"
AUTHORIZATION_ERROR = "Authorization error."
BUSY = "busy, try again"


@dataclass(frozen=True, kw_only=True)
class ConnectionRequest(SessionFacts):
    """One session that an agent asks for. `key` is the forwarding rule's own.

    resumes: it was open before, and its agent asks for it again.
    """

    resumes: bool = False

    def public(self) -> PublicFacts:
        """Return the same, fit to be logged and shown."""
        return PublicFacts(**{name: getattr(self, name) for name in _FACTS} | {"key": key_digest(self.key)})


_FACTS = tuple(field.name for field in fields(SessionFacts))


@dataclass(frozen=True, slots=True)
class RegistrationRequest:
    """One agent that wants to register.

    name: the gateway. key: what it authenticates with, "" if nothing. address: its own, as the proxy sees it.
    certificate_subject: of its verified TLS client certificate, "" without one.
    headers: of the HTTP request that opened its link. They may hold credentials, so no repr shows them.
    """

    name: str = ""
    key: str = field(default="", repr=False)
    address: str = ""
    certificate_subject: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False, hash=False)


Request = ConnectionRequest | RegistrationRequest


@dataclass(frozen=True, slots=True)
class Decision:
    """An answer.

    reason: what the agent may be told, "" if allowed. detail: why, for logs and events only; never holds a key.
    cache_seconds: how long the same request may get the same answer without asking again.
    error: the authorizer failed, and so denies. busy: it has not decided, and should be asked again later.
    identity: whom a granted registration proved the agent to be; the proxy puts it into its ConnectionRequests.
    """

    allowed: bool
    reason: str = ""
    cache_seconds: float = 0.0
    error: bool = False
    detail: str = ""
    identity: str = ""
    busy: bool = False


DETAIL = 500  # characters


def printable(text: str) -> str:
    """`text` on one line, without characters that a terminal or a log reader would act on."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def granted(detail: str = "", *, cache_seconds: float = 0.0, identity: str = "") -> Decision:
    return Decision(True, cache_seconds=cache_seconds, detail=_shown(detail), identity=identity)


def denied(detail: str = "", *, cache_seconds: float = 0.0) -> Decision:
    return Decision(False, UNAUTHORIZED, cache_seconds=cache_seconds, detail=_shown(detail))


def failed(detail: str) -> Decision:
    """A denial because the authorizer could not decide."""
    return Decision(False, AUTHORIZATION_ERROR, error=True, detail=_shown(detail))


def busy(detail: str) -> Decision:
    """No decision, because there is too much to do: the agent is asked to try again."""
    return Decision(False, BUSY, busy=True, detail=_shown(detail))


def _shown(detail: str) -> str:
    return printable(detail[:DETAIL])
