"""Forwarding rules: `[bind:]port:[key@]gateway:host:port`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from hubble.base.errors import UsageError
from hubble.base.names import key_problem, name_problem, shown
from hubble.transport.hostnames import host_problem

FORM = "[bind:]port:[key@]gateway:host:port"
EXAMPLE = "2230:office:127.0.0.1:22"
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Rule:
    """Listen on bind:port, and forward each connection to host:port as seen from the agent `gateway`.

    Port 0 listens on a free port. `key` is passed to the proxy's policy. Raises UsageError for invalid values.
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
            raise UsageError(f"rule {self}: the bind address is empty; leave out the colon to bind to {LOOPBACK}")
        if not 0 <= self.port <= 65535:
            raise UsageError(f"rule {self}: the port {self.port} is out of range; write 0 to 65535")
        if not 1 <= self.host_port <= 65535:
            raise UsageError(f"rule {self}: the port {self.host_port} is out of range; write 1 to 65535")

    def __str__(self) -> str:
        """Return the rule as the user writes it, with its key hidden."""
        bind = "" if self.bind == LOOPBACK else f"{_bracketed(self.bind)}:"
        key = "***@" if self.key else ""
        return f"{bind}{self.port}:{key}{self.gateway}:{_bracketed(self.host)}:{self.host_port}"

    @classmethod
    def parse(cls, text: str) -> Rule:
        """Parse a rule. Raises UsageError, one line without the key.

        The key may contain `:` and `@`: it ends at the last `@`. IPv6 addresses are in brackets.
        """
        head, at, tail = text.rpartition("@")
        if at:
            match = re.fullmatch(
                r"(?:(?P<bind>\[[^]]*:[^]]*\]|[^:\[\]]*):)??(?P<port>\d+):(?P<key>.*)", head, re.DOTALL
            )
        else:
            match = re.match(r"(?:(?P<bind>\[[^]]*:[^]]*\]|[^:\[\]]*):)??(?P<port>\d+):(?P<key>)", tail)
            tail = tail[match.end() :] if match else tail
        target = re.fullmatch(r"(?P<gateway>[^:]*):(?P<host>\[[^]]*\]|[^:\[\]]*):(?P<port>\d+)", tail)
        if match is None or target is None:
            port = re.match(r"\d{1,5}:|", head)  # the rest may contain the key
            visible = shown(f"{port and port[0]}***@{tail}" if at else text)
            problem = _missing(f"port:{text.rpartition('@')[2]}" if at else text)
            raise UsageError(f"rule {visible}: {problem}; write {FORM}, for example {EXAMPLE}")
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
    """Parse each text, and keep each Rule as it is.

    Raises UsageError for an invalid text, and for two rules that listen on the same address.
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


def _missing(text: str) -> str:
    """Return which part an invalid rule lacks, as a clause."""
    parts = re.sub(r"\[[^]]*\]", "address", text).split(":")
    if len(parts) < 3:
        return "the destination is missing"
    if not parts[-1].isdecimal():
        is_missing = len(parts) == 3 or not parts[-1]
        return f"the destination's port is {'missing' if is_missing else 'not a number'}"
    if len(parts) == 3:
        return "the gateway is missing"
    return "it is malformed; put IPv6 addresses in brackets" if len(parts) > 5 else "it is malformed"


def _port(digits: str) -> int:
    return int(digits[:9])  # a longer number is out of range too


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
