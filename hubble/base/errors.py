"""Every error Hubble raises on purpose, by class, so that callers match classes and never texts."""

from __future__ import annotations


class HubbleError(Exception):
    """The root of all errors below; its text is one line meant for a person."""

    status = 1
    """The exit status of a program that ends because of it. An HTTP status is never in it: see `http_status`."""


class UsageError(HubbleError):
    """What the user asked for cannot be meant: a bad option, rule or file."""

    status = 2


class ProtocolError(HubbleError):
    """A message, or a sequence of messages, that the wire protocol does not allow (docs/protocol.md)."""


class LinkClosed(HubbleError):
    """The link is closed, or was lost, and carries nothing any more."""


class ListenError(HubbleError):
    """An address cannot be listened on."""


class DialError(HubbleError):
    """A connection could not be made: to the proxy, through an HTTP or SOCKS proxy, or to a destination."""


class OutOfDescriptors(DialError):
    """This process, or its machine, has no file descriptor left for a connection."""


class RegistrationRefused(HubbleError):
    """The proxy refused this agent's name or key; trying again at once would not help. `code` says why (`Refusal`)."""

    def __init__(self, text: str, code: int = 0) -> None:
        super().__init__(text)
        self.code = code


class RegistrationInvalid(RegistrationRefused):
    """The proxy refuses this agent's name or key as invalid: trying again with the same never helps."""

    status = 2


class ProxyBusy(RegistrationRefused):
    """The proxy is too busy to decide on this agent's registration: trying again soon helps."""


class PatchingMissing(HubbleError):
    """gevent's monkey-patching, which the named feature needs, has not been done."""
