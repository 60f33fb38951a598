"""Events and their loggers, which cannot affect the proxy. See docs/events.md.

model    the events
text     events as JSON
feed     the queue and the greenlet of each logger
files, sqlite, webhook, syslog
         the loggers that --events names
outage   logs the start and the end of a failure to write events
spool    batches on disk that wait for the webhook's receiver
choose   selects a logger by the value of --events
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
