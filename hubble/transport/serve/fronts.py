"""Front servers: the trusted ones, and the client addresses that they report."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hubble.base.errors import ProtocolError, UsageError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# RFC 7239, section 4; tokens and quoted strings are those of RFC 9110, section 5.6.
_TOKEN = r"[-!#$%&'*+.^_`|~0-9A-Za-z]+"
_QUOTED = r'"(?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\[\t\x20-\x7e\x80-\xff])*"'
_PAIR = re.compile(rf"[ \t]*(?P<name>{_TOKEN})=(?P<value>{_TOKEN}|{_QUOTED})[ \t]*(?P<end>[;,]|$)")
_NODE = re.compile(r"(?P<v4>[^:\[\]]+)(?::\d{1,5})?|\[(?P<v6>[^\]]+)\](?::\d{1,5})?|(?P<bare>[0-9A-Fa-f:.]+)")


class Misleading(ProtocolError):
    """The headers of a trusted front server about its client are ambiguous or invalid, so the request is refused."""


@dataclass(frozen=True)
class FrontServers:
    """The networks of front servers that are trusted to report a client's address.

    `proxy_protocol`: connections from these networks begin with a PROXY protocol header, and no other connections do.
    Raises UsageError for `proxy_protocol` without networks.
    """

    networks: tuple[Network, ...] = ()
    proxy_protocol: bool = False

    def __post_init__(self) -> None:
        if self.proxy_protocol and not self.networks:
            raise UsageError("--proxy-protocol needs --trusted-proxy: the networks whose PROXY headers are trusted")

    def trusts(self, address: str) -> bool:
        """Return whether `address` is trusted to report clients' addresses."""
        if not self.networks:
            return False
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:  # a Unix socket's
            return False
        return any(ip in network for network in self.networks)

    def client_address(self, peer: str, environ: Mapping[str, str]) -> str:
        """Return the client's address: the nearest address that is not a trusted front server.

        `peer` is the address of the connection, `environ` a WSGI environment. Raises Misleading, also if
        X-Forwarded-For and Forwarded differ, because then the client has set one of them.
        """
        if not self.trusts(peer):
            return peer
        found = [
            self._nearest(parse(environ[key]))
            for key, parse in (("HTTP_X_FORWARDED_FOR", _x_forwarded_for), ("HTTP_FORWARDED", _forwarded))
            if key in environ
        ]
        if len(set(found)) > 1:
            raise Misleading(
                "X-Forwarded-For and Forwarded name different clients: the front server must remove the one it does "
                "not set"
            )
        return found[0] if found else peer

    def _nearest(self, nodes: list[str]) -> str:
        for node in reversed(nodes):
            address = _node_address(node)
            if not self.trusts(address):
                return address
        return address


def plain_address(address: str) -> str:
    """Return an address as policy rules write it: an IPv4 address from an IPv6 socket as IPv4."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(getattr(ip, "ipv4_mapped", None) or ip)


def parse_networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Parse networks or single addresses. Raises UsageError."""
    return tuple(_network(text) for text in texts)


def _network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text.strip("[]"))
    except ValueError as error:
        raise UsageError(
            f"the trusted proxy {text!r} is not an address or a network such as 10.0.0.0/8: {error}"
        ) from None


def _x_forwarded_for(value: str) -> list[str]:
    return [node.strip() for node in value.split(",")]


def _forwarded(value: str) -> list[str]:
    """Return the `for` parameter of each element of a Forwarded header, in order."""
    nodes: list[str] = []
    element: dict[str, str] = {}
    position = 0
    while True:
        match = _PAIR.match(value, position)
        if match is None:
            raise Misleading("the Forwarded header is malformed (RFC 7239)")
        name = match["name"].lower()
        if name in element:
            raise Misleading(f"the Forwarded header has {name} twice for one client (RFC 7239)")
        element[name] = _unquoted(match["value"])
        position = match.end()
        if match["end"] != ";":
            nodes.append(element.get("for", ""))
            element = {}
        if not match["end"]:
            return nodes


def _unquoted(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value


def _node_address(node: str) -> str:
    """Return the address in a node (RFC 7239, section 6), with or without a port and brackets."""
    match = _NODE.fullmatch(node)
    text = match[match.lastgroup] if match is not None and match.lastgroup else ""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        raise Misleading(f"the front server does not name its client: {node[:50]!r} is not an address") from None
    return plain_address(text)
