"""The fields that identify a session. Requests, events, records, the API and its description derive from them.

A field added here appears in all of them. The module is in `base` because policies and events do not import sessions.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class SessionFacts:
    """One session as its entry requested it.

    session: the session's id. source: the entry gateway. source_ip: the entry's address as the proxy sees it. identity:
    the identity that the entry proved when it registered, or "". gateway: the exit. host, port: the destination as the
    entry wrote it, a host name or an address, not resolved. key: the key of the forwarding rule, or "". kind: the kind
    of traffic.
    """

    session: str = ""
    source: str = ""
    source_ip: str = ""
    identity: str = ""
    gateway: str = ""
    host: str = ""
    port: int = 0
    key: str = field(default="", repr=False)
    kind: str = "tcp"


@dataclass(frozen=True, kw_only=True)
class PublicFacts(SessionFacts):
    """Session facts that may be logged and shown: `key` is a digest (hubble.policy.key_digest), or "" without a key."""
