"""The network that an address counts for, where limits are shared out among strangers."""

from __future__ import annotations

import ipaddress

IPV4_PREFIX, IPV6_PREFIX = 24, 64
"""Bits. One subscriber has at least a /64 of IPv6 addresses, and often a /24 has one owner."""


def network_of(address: str) -> str:
    """Return the /24 of an IPv4 address, the /64 of an IPv6 address; anything else as it is, at most 64 characters."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    mapped = getattr(parsed, "ipv4_mapped", None)
    if mapped is not None:
        parsed = mapped
    prefix = IPV4_PREFIX if parsed.version == 4 else IPV6_PREFIX
    return str(ipaddress.ip_network((parsed, prefix), strict=False))
