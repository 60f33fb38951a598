"""Every error that Hubble raises on purpose. Callers match the class, never the text."""

from __future__ import annotations


class HubbleError(Exception):
    """The base class of all errors below. The text is one line for a person to read."""

    status = 1
    """The exit status of a program that ends because of this error. Not an HTTP status: see `http_status`."""


class UsageError(HubbleError):
    """An option, a rule or a file that the user gave is invalid."""

    status = 2


class ProtocolError(HubbleError):
    """A message, or a sequence of messages, violates the wire protocol (docs/protocol.md)."""


class LinkClosed(HubbleError):
    """The link is closed or lost: nothing can be sent or received on it."""


class ListenError(HubbleError):
    """An address cannot be listened on."""


class DialError(HubbleError):
    """A connection could not be made: to the proxy, through an HTTP or SOCKS proxy, or to a destination."""


class OutOfDescriptors(DialError):
    """This process or its machine has run out of file descriptors."""


class RegistrationRefused(HubbleError):
    """The proxy refused this agent's name or key. An immediate retry would fail. `code` is the reason (`Refusal`)."""

    def __init__(self, text: str, code: int = 0) -> None:
        super().__init__(text)
        self.code = code


class RegistrationInvalid(RegistrationRefused):
    """The proxy refused this agent's name or key as invalid: every retry with the same values fails."""

    status = 2


class ProxyBusy(RegistrationRefused):
    """The proxy is too busy to decide on this agent's registration: retry soon."""


class PatchingMissing(HubbleError):
    """The named feature needs gevent's monkey-patching, which has not been done."""
