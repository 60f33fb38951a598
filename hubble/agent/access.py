"""The exit agent's own access list, `--allow` and `--deny`, checked against the address that is dialed."""

from __future__ import annotations

import fnmatch
import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hubble.base.embedded import Address, Network, embedded, inner, reached, translated, unmapped
from hubble.base.errors import UsageError

ALL_PORTS = (1, 65535)

# Allowed only if a pattern names them: loopback, link-local addresses, and the metadata services of clouds, which hand
# out credentials (AWS, Azure, Alibaba, Oracle; most use 169.254.169.254).
SHELTERED: tuple[Network, ...] = tuple(
    ipaddress.ip_network(text)
    for text in (
        *("127.0.0.0/8", "::1/128", "169.254.0.0/16", "fe80::/10"),
        *("fd00:ec2::/32", "168.63.129.16/32", "100.100.100.200/32", "192.0.0.192/32"),
    )
)
LOOPBACK: tuple[Network, ...] = SHELTERED[:2]

_HOST_PORT = re.compile(r"(\[[^\[\]]+\]|[^:\[\]]+):(\*|\d{1,5}(?:-\d{1,5})?)")


@dataclass(frozen=True, slots=True)
class Pattern:
    """One `host:port` pattern: a network or a pattern for names, and the first and last port."""

    text: str
    host: Network | re.Pattern[str]
    ports: tuple[int, int]
    name: str = ""

    def match(self, host: str, address: Address, port: int) -> bool:
        """Return whether the pattern matches the requested host or its address, and the port."""
        if not self.ports[0] <= port <= self.ports[1]:
            return False
        if isinstance(self.host, re.Pattern):
            return bool(self.host.fullmatch(host) or self.host.fullmatch(str(address)))
        return address in self.host

    def names(self, sheltered: Network, host: str) -> bool:
        """Return whether this pattern names `sheltered` or a part of it, rather than a larger network."""
        if isinstance(self.host, re.Pattern):
            return sheltered in LOOPBACK and self.name == host == "localhost"
        return any(
            network is not None and network.version == sheltered.version and network.subnet_of(sheltered)  # type: ignore[arg-type]
            for network in (self.host, inner(self.host))
        )


class AccessList:
    """The destinations of an exit agent: none that `deny` matches and, if `allow` is given, only those it matches.

    A pattern is `host:port`. The host is a name or a shell pattern for names (compared with the host as the entry wrote
    it), an address or a network (compared with the resolved address; IPv6 in brackets), or `*`. The port is a number, a
    range or `*`. Raises UsageError.
    """

    def __init__(self, allow: Sequence[str] = (), deny: Sequence[str] = ()) -> None:
        self._allow = tuple(_pattern(text) for text in allow)
        self._deny = tuple(_pattern(text) for text in deny)

    def check(self, host: str, address: Address | str, port: int) -> str | None:
        """Return why the destination is forbidden, or None. Connect only to `address`, to which `host` resolved."""
        resolved = _address(address)
        if resolved is None:
            return f"{address} is not an address"
        asked = host.lower().removesuffix(".")
        inside = embedded(resolved)
        for pattern in self._deny:
            if any(pattern.match(asked, each, port) for each in (resolved, *inside)):
                return f"--deny {pattern.text} forbids it"
        if not self._allow:
            return None
        # An address that tunnels to an allowed one, such as 6to4, belongs to another machine behind it.
        destinations = [each for each in (resolved, translated(resolved)) if each is not None]
        matching = [
            pattern for pattern in self._allow if any(pattern.match(asked, each, port) for each in destinations)
        ]
        if not matching:
            return "no --allow names it"
        return _sheltered((resolved, *inside), matching, asked)


def _sheltered(addresses: Iterable[Address], matching: Sequence[Pattern], asked: str) -> str | None:
    """Return why a sheltered address among `addresses` is forbidden, or None."""
    for address in addresses:
        for sheltered in SHELTERED:
            if address in sheltered and not any(pattern.names(sheltered, asked) for pattern in matching):
                return f"it is in {sheltered}, which needs an --allow of its own"
    return None


def _address(text: Address | str) -> Address | None:
    """Return the address that a connection to `text` reaches, or None if `text` is not an address."""
    try:
        return reached(ipaddress.ip_address(str(text).partition("%")[0]))
    except ValueError:
        return None


def _pattern(text: str) -> Pattern:
    found = _HOST_PORT.fullmatch("*:*" if text == "*" else text)
    if not found:
        raise UsageError(
            f'the destination pattern "{text}" is invalid; write host:port, '
            f"for example 10.0.0.0/8:22, *.example.com:443, [fd00::/8]:8000-8999 or *:443"
        )
    return Pattern(text, _host(found[1], text), _ports(found[2], text), found[1].lower())


def _host(host: str, text: str) -> Network | re.Pattern[str]:
    try:
        network = ipaddress.ip_network(host.strip("[]"))
    except ValueError as error:
        if "/" in host or host.startswith("["):
            raise UsageError(f'the destination pattern "{text}" has an invalid network: {error}') from None
        return re.compile(fnmatch.translate(host.lower().removesuffix(".")))
    return unmapped(network)


def _ports(ports: str, text: str) -> tuple[int, int]:
    if ports == "*":
        return ALL_PORTS
    first, _, last = ports.partition("-")
    span = int(first), int(last or first)
    if not 1 <= span[0] <= span[1] <= 65535:
        raise UsageError(
            f'the destination pattern "{text}" has an invalid port; write 1 to 65535, a range 8000-8999, or *'
        )
    return span
