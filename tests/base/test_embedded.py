"""IPv4 inside IPv6, in every form that leads somewhere."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from hubble.base.embedded import embedded, inner, reached, translated, unmapped


@pytest.mark.parametrize(
    ("address", "inside"),
    [
        ("64:ff9b::10.1.2.3", "10.1.2.3"),
        ("64:ff9b:1::10.1.2.3", "10.1.2.3"),  # /96
        ("64:ff9b:1:a01:2:300::", "10.1.2.3"),  # /48
        ("64:ff9b:1:ab0a:1:203::", "10.1.2.3"),  # /56
        ("64:ff9b:1:abcd:a:102:300:0", "10.1.2.3"),  # /64
        ("2002:a01:203::1", "10.1.2.3"),
        ("2001:0:a01:203:8000:63bf:3fff:fdd2", "10.1.2.3"),  # Teredo's server
        ("2001:0:4136:e378:8000:63bf:f5fe:fdfc", "10.1.2.3"),  # and its client, inverted
        ("::10.1.2.3", "10.1.2.3"),
        ("::ffff:0:10.1.2.3", "10.1.2.3"),
        ("2001:db8::5efe:10.1.2.3", "10.1.2.3"),
        ("fd00::200:5efe:10.1.2.3", "10.1.2.3"),
        ("64:ff9b::0.0.0.0", "127.0.0.1"),
    ],
)
def test_every_form_is_seen(address: str, inside: str) -> None:
    assert ip_address(inside) in embedded(ip_address(address))


@pytest.mark.parametrize("address", ["10.1.2.3", "::1", "::", "2001:db8::1", "fe80::1", "64:ff9c::10.1.2.3"])
def test_others_hold_none(address: str) -> None:
    assert embedded(ip_address(address)) == ()


def test_only_the_well_known_prefixes_are_translations() -> None:
    assert translated(ip_address("64:ff9b::10.1.2.3")) == ip_address("10.1.2.3")
    for address in ("2002:a01:203::1", "::10.1.2.3", "64:ff9b:1::10.1.2.3", "10.1.2.3"):
        assert translated(ip_address(address)) is None


def test_what_is_reached() -> None:
    assert reached(ip_address("::ffff:10.1.2.3")) == ip_address("10.1.2.3")
    assert reached(ip_address("::ffff:0.0.0.0")) == ip_address("127.0.0.1")
    assert reached(ip_address("::")) == ip_address("::1")


def test_networks() -> None:
    assert inner(ip_network("64:ff9b::a00:0/104")) == ip_network("10.0.0.0/8")
    assert inner(ip_network("64:ff9b::/64")) is None
    assert inner(ip_network("10.0.0.0/8")) is None
    assert unmapped(ip_network("::ffff:10.0.0.0/104")) == ip_network("10.0.0.0/8")
    assert unmapped(ip_network("64:ff9b::/96")) == ip_network("64:ff9b::/96")
