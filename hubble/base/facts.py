"""What identifies a session, in one place: requests, events, records, the API and its description are made from it.

A field added here is in all of them. It stands below everything because policies and events know nothing of sessions.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class SessionFacts:
    """One session as its entry asked for it.

    session: its id. source: the entry gateway. source_ip: its address as the proxy sees it.
    identity: what the entry's registration proved it to be, "" if nothing. gateway: the exit. host, port: the
    destination as the entry named it: a host name or an address, not resolved. key: of the forwarding rule, "" if none.
    kind: what the session carries.
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
    """The same, fit to be logged and shown: `key` is a digest (hubble.policy.key_digest), "" standing for no key."""
