"""Requests to an authorizer, and its decisions."""

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
    """A session that an agent wants to open. `key` is the key of the forwarding rule.

    resumes: the session was open before, and its agent wants to resume it.
    """

    resumes: bool = False

    def public(self) -> PublicFacts:
        """Return the facts for logs and events, with a digest in place of the key."""
        return PublicFacts(**{name: getattr(self, name) for name in _FACTS} | {"key": key_digest(self.key)})


_FACTS = tuple(field.name for field in fields(SessionFacts))


@dataclass(frozen=True, slots=True)
class RegistrationRequest:
    """An agent that wants to register.

    name: the gateway name. key: the agent's key, or "". address: the agent's address, as the proxy sees it.
    certificate_subject: of its verified TLS client certificate, or "".
    headers: of the HTTP request that opened its link. They may contain credentials, so the repr omits them.
    """

    name: str = ""
    key: str = field(default="", repr=False)
    address: str = ""
    certificate_subject: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False, hash=False)


Request = ConnectionRequest | RegistrationRequest


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer of an authorizer.

    reason: the text for the agent, "" if allowed. detail: the reason for logs and events; never contains a key.
    cache_seconds: how long the decision may be cached for the same request.
    error: the authorizer failed, and so denies. busy: it did not decide; the agent should try again later.
    identity: the identity that a registration proved; the proxy copies it into the agent's ConnectionRequests.
    """

    allowed: bool
    reason: str = ""
    cache_seconds: float = 0.0
    error: bool = False
    detail: str = ""
    identity: str = ""
    busy: bool = False


DETAIL = 500
"""Characters of a detail; the rest is cut."""


def printable(text: str) -> str:
    """Return `text` on one line, with control characters escaped."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def granted(detail: str = "", *, cache_seconds: float = 0.0, identity: str = "") -> Decision:
    return Decision(True, cache_seconds=cache_seconds, detail=_shown(detail), identity=identity)


def denied(detail: str = "", *, cache_seconds: float = 0.0) -> Decision:
    return Decision(False, UNAUTHORIZED, cache_seconds=cache_seconds, detail=_shown(detail))


def failed(detail: str) -> Decision:
    """Return a denial, because the authorizer failed."""
    return Decision(False, AUTHORIZATION_ERROR, error=True, detail=_shown(detail))


def busy(detail: str) -> Decision:
    """Return no decision, because of overload. The agent is told to try again."""
    return Decision(False, BUSY, busy=True, detail=_shown(detail))


def _shown(detail: str) -> str:
    return printable(detail[:DETAIL])
