"""The IPv4 addresses embedded in IPv6 addresses: packets to the IPv6 address reach the IPv4 host, or pass it."""

from __future__ import annotations

import ipaddress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

LOOPBACK_OF = {4: "127.0.0.1", 6: "::1"}
"""The address that a connection to the unspecified address reaches, by IP version."""

_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052
_NAT64_LOCAL = IPv6Network("64:ff9b:1::/48")  # RFC 8215: each network divides it into prefixes itself
_TRANSLATED = IPv6Network("::ffff:0:0:0/96")  # RFC 2765
_COMPATIBLE = IPv6Network("::/96")  # RFC 4291, section 2.5.5.1; deprecated
_MAPPED = IPv6Network("::ffff:0:0/96")
_TRANSLATING = (_NAT64, _TRANSLATED, _MAPPED)
_ISATAP = {0x00005EFE, 0x02005EFE}  # RFC 5214, section 6.1: bits 64 to 95


def reached(address: Address) -> Address:
    """Return the address that a connection to `address` reaches on this machine.

    An IPv4-mapped address reaches its IPv4 address; the unspecified address reaches loopback.
    """
    address = getattr(address, "ipv4_mapped", None) or address
    return ipaddress.ip_address(LOOPBACK_OF[address.version]) if address.is_unspecified else address


def translated(address: Address) -> IPv4Address | None:
    """Return the IPv4 address to which NAT64 or SIIT translates an IPv6 address with a well-known prefix, or None."""
    if isinstance(address, IPv6Address) and (address in _NAT64 or address in _TRANSLATED):
        return _reached4(int(address) & 0xFFFFFFFF)
    return None


def embedded(address: Address) -> tuple[IPv4Address, ...]:
    """Return every IPv4 address that packets to `address` may reach or pass, for checks that must not miss one.

    Covers `translated` and also: local NAT64 prefixes in 64:ff9b:1::/48, 6to4 (2002::/16), Teredo (2001::/32: server
    and client), IPv4-compatible addresses (::/96) and ISATAP. NAT64 with any other prefix cannot be recognized.
    """
    if not isinstance(address, IPv6Address):
        return ()
    value = int(address)
    found: list[int | IPv4Address | None] = [translated(address), address.sixtofour, *(address.teredo or ())]
    if address in _NAT64_LOCAL:  # RFC 6052, section 2.2; bits 64 to 71 are skipped
        after_48 = value >> 64 & 0xFFFF, value >> 40 & 0xFFFF
        after_56 = value >> 64 & 0xFF, value >> 32 & 0xFFFFFF
        found += [after_48[0] << 16 | after_48[1], after_56[0] << 24 | after_56[1], value >> 24 & 0xFFFFFFFF]
        found.append(value & 0xFFFFFFFF)
    if (address in _COMPATIBLE and value > 1) or value >> 32 & 0xFFFFFFFF in _ISATAP:
        found.append(value & 0xFFFFFFFF)
    return tuple(dict.fromkeys(_reached4(each) for each in found if each is not None))


def inner(network: Network) -> IPv4Network | None:
    """Return the IPv4 network that an IPv6 network within a translating prefix represents, or None."""
    if isinstance(network, IPv6Network) and any(network.subnet_of(prefix) for prefix in _TRANSLATING):
        return IPv4Network((int(network.network_address) & 0xFFFFFFFF, network.prefixlen - 96))
    return None


def unmapped(network: Network) -> Network:
    """Return an IPv4-mapped network as IPv4 and any other unchanged, to compare it with addresses from `reached`."""
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        return inner(network) or network
    return network


def _reached4(address: int | IPv4Address) -> IPv4Address:
    found = IPv4Address(address)
    return IPv4Address(LOOPBACK_OF[4]) if found.is_unspecified else found
