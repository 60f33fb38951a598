"""The network that an address is counted under, where strangers share a limit."""

from __future__ import annotations

import ipaddress
from functools import lru_cache

IPV4_PREFIX, IPV6_PREFIX = 24, 64
"""Prefix lengths in bits. One subscriber has at least a /64 of IPv6 addresses, and a /24 often has one owner."""

REMEMBERED = 4096
"""Addresses whose network is remembered: working it out takes 5 us, and a flood comes from few."""


@lru_cache(REMEMBERED)
def network_of(address: str) -> str:
    """Return the /24 of an IPv4 address or the /64 of an IPv6 address. Cut any other text to 64 characters."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    mapped = getattr(parsed, "ipv4_mapped", None)
    if mapped is not None:
        parsed = mapped
    prefix = IPV4_PREFIX if parsed.version == 4 else IPV6_PREFIX
    return str(ipaddress.ip_network((parsed, prefix), strict=False))
