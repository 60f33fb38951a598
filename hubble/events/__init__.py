"""Events: what happened, told to loggers that cannot harm what they are told about. See docs/events.md.

model    the events
text     events as JSON
feed     the queue and the greenlet of each logger
files, sqlite, webhook, syslog
         the loggers that --events names
outage   one log line when events cannot be written, and one when it is over
spool    batches that wait on disk for the webhook's receiver
choose   from the text of an --events option to a logger
"""

from hubble.events.feed import EventLogger, Events, Feed, install_event_logger, remove_event_logger
from hubble.events.model import (
    KINDS,
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
    as_dict,
    timestamp,
)

__all__ = [
    "KINDS",
    "AuthorizationDenied",
    "CloseSession",
    "Event",
    "EventLogger",
    "Events",
    "Feed",
    "GatewayRegistration",
    "GatewayUnregistration",
    "OpenSession",
    "ProxyStarted",
    "ProxyStopping",
    "RegistrationRefused",
    "ScriptError",
    "SessionResumed",
    "SessionSuspended",
    "as_dict",
    "install_event_logger",
    "remove_event_logger",
    "timestamp",
]
