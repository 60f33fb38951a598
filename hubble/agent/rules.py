"""Forwarding rules: `[bind:]port:[key@]gateway:host:port`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from hubble.base.errors import UsageError
from hubble.base.names import key_problem, name_problem, shown
from hubble.transport.hostnames import host_problem

FORM = "[bind:]port:[key@]gateway:host:port"
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Rule:
    """Listen on bind:port, and carry each connection to host:port near the agent called `gateway`.

    Port 0 listens on a free port. `key` is passed to the proxy's policy. Raises UsageError for impossible values.
    """

    port: int
    gateway: str
    host: str
    host_port: int
    bind: str = LOOPBACK
    key: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        for what, problem in (
            ("gateway", name_problem(self.gateway)),
            ("host", host_problem(self.host)),
            ("key", key_problem(self.key)),
        ):
            if problem is not None:
                raise UsageError(f"rule {shown(str(self))}: the {what} {problem}")
        if not self.bind:
            raise UsageError(f"rule {self}: the address to bind is empty; leave it out for {LOOPBACK}")
        if not 0 <= self.port <= 65535:
            raise UsageError(f"rule {self}: the port {self.port} is not between 0 and 65535")
        if not 1 <= self.host_port <= 65535:
            raise UsageError(f"rule {self}: the port {self.host_port} is not between 1 and 65535")

    def __str__(self) -> str:
        """The rule as it is written, but for its key."""
        bind = "" if self.bind == LOOPBACK else f"{_bracketed(self.bind)}:"
        key = "***@" if self.key else ""
        return f"{bind}{self.port}:{key}{self.gateway}:{_bracketed(self.host)}:{self.host_port}"

    @classmethod
    def parse(cls, text: str) -> Rule:
        """The rule that `text` means. Raises UsageError, in one line, if it means none.

        The key may hold `:` and `@`: it ends at the last `@`. Addresses of IPv6 stand in brackets.
        """
        head, at, tail = text.rpartition("@")
        if at:
            match = re.fullmatch(r"(?:(?P<bind>\[[^]]*\]|[^:]*):)??(?P<port>\d+):(?P<key>.*)", head, re.DOTALL)
        else:
            match = re.match(r"(?:(?P<bind>\[[^]]*\]|[^:]*):)??(?P<port>\d+):(?P<key>)", tail)
            tail = tail[match.end() :] if match else tail
        target = re.fullmatch(r"(?P<gateway>[^:]*):(?P<host>\[[^]]*\]|[^:\[\]]*):(?P<port>\d+)", tail)
        if match is None or target is None:
            port = re.match(r"\d{1,5}:|", head)  # nothing else of it: the key may stand anywhere
            shown = f"{port and port[0]}***@{tail}" if at else text
            raise UsageError(f"rule {shown!r}: not of the form {FORM} (IPv6 addresses in brackets)")
        bind = match["bind"]
        return cls(
            port=_port(match["port"]),
            gateway=target["gateway"],
            host=target["host"].strip("[]"),
            host_port=_port(target["port"]),
            bind=LOOPBACK if bind is None else bind.strip("[]"),
            key=match["key"],
        )


def parse_rules(texts: Iterable[str | Rule]) -> list[Rule]:
    """The rules that `texts` mean; a Rule means itself.

    Raises UsageError for a text that means none, and for a rule that listens where another does.
    """
    rules: list[Rule] = []
    for text in texts:
        rule = text if isinstance(text, Rule) else Rule.parse(text)
        for other in rules:
            if rule.port and (rule.bind, rule.port) == (other.bind, other.port):
                what = "is given twice" if rule == other else f"listens on the same address as {other}"
                raise UsageError(f"rule {rule} {what}")
        rules.append(rule)
    return rules


def _port(digits: str) -> int:
    return int(digits[:9])  # longer ones are out of range all the same


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
