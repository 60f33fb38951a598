"""The options of the commands that connect to a running proxy."""

from __future__ import annotations

from dataclasses import dataclass

from hubble.options.common import LOGGING
from hubble.options.option import ADDRESS, COUNT, DIRECTORY, FILE, FLAG, SECONDS, Group, Option

ACCESS = Group(
    "Which proxy",
    (
        Option("admin", "The address of the proxy's API, [host]:port.", ADDRESS, absent="from the runtime directory"),
        Option("admin-token-file", "Read the token for the API from FILE.", FILE, absent="from the runtime directory"),
        Option(
            "runtime-dir", "The proxy's runtime directory. Required if several proxies of one user run.", DIRECTORY,
            absent="that of the only running proxy",
        ),
        Option("json", "Print JSON.", FLAG),
    ),
)  # fmt: skip

_WATCH = (
    Option("watch", "Repeat every S seconds.", SECONDS, bare=2.0, absent="print once; 2 s if S is left out"),
    Option("limit", "Show at most N.", COUNT, default=50),
)
_LIST = (
    Option("search", "Show only items with TEXT in a name or an address."),
    Option("sort", "Sort by this column.", metavar="COLUMN"),
    Option("descending", "Sort in descending order.", FLAG),
)


@dataclass(frozen=True, slots=True)
class Command:
    """A command: a summary, its options, and the placeholder of its argument, if it has one."""

    summary: str
    options: tuple[Option, ...] = ()
    argument: str = ""

    @property
    def groups(self) -> tuple[Group, ...]:
        """All options of the command."""
        own = (Group("Options", self.options),) if self.options else ()
        return (*own, ACCESS, LOGGING)


COMMANDS = {
    "status": Command("Show the proxy's totals and its workers.", _WATCH),
    "gateways": Command("List the registered gateways.", (*_WATCH, *_LIST)),
    "sessions": Command(
        "List the sessions.",
        (
            *_WATCH,
            *_LIST,
            Option("gateway", "Show only sessions with this gateway at either end.", metavar="NAME"),
            Option("state", "Show only sessions in this state.", choices=("open", "suspended")),
        ),
    ),
    "events": Command(
        "List the latest events.",
        (
            *_WATCH,
            Option("kind", "Show only events of this kind, such as OpenSession.", metavar="KIND"),
            Option("about", "Show only events about this gateway or session.", metavar="NAME"),
        ),
    ),
    "kick": Command(
        "End a session, given its id, or close the link of a gateway, given its name.",
        (
            Option(
                "block", "Also end the gateway's sessions, and refuse its registrations until it is unblocked.", FLAG
            ),
        ),
        "SESSION|GATEWAY",
    ),
    "unblock": Command("Let a blocked gateway register again.", (), "GATEWAY"),
    "reload": Command("Have the proxy reload its files."),
    "drain": Command(
        "Have the agents move to another proxy, then stop this one.",
        (Option("seconds", "Stop after this long even if agents remain.", SECONDS, default=30.0),),
    ),
}
