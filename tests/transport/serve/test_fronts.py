from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubble.base.errors import UsageError
from hubble.transport.serve.fronts import FrontServers, Misleading, parse_networks, plain_address

FRONT, INNER = "10.0.0.1", "10.0.0.2"
TRUSTING = FrontServers(parse_networks(["10.0.0.0/8", "2001:db8:ffff::/48"]))


def seen(fronts: FrontServers = TRUSTING, peer: str = FRONT, **headers: str) -> str:
    return fronts.client_address(peer, {f"HTTP_{name.upper()}": value for name, value in headers.items()})


class TestTrust:
    def test_nobody_is_believed_unless_told_so(self) -> None:
        assert seen(FrontServers(), x_forwarded_for="192.0.2.1", forwarded="for=192.0.2.1") == FRONT

    def test_only_the_networks_named_are_believed(self) -> None:
        assert seen(peer="192.0.2.9", x_forwarded_for="192.0.2.1") == "192.0.2.9"
        assert seen(peer="2001:db8:ffff::9", x_forwarded_for="192.0.2.1") == "192.0.2.1"

    def test_a_front_server_that_says_nothing_speaks_for_itself(self) -> None:
        assert seen() == FRONT

    def test_a_peer_without_an_address_is_not_believed(self) -> None:
        assert seen(peer="", x_forwarded_for="192.0.2.1") == ""

    def test_networks_and_single_addresses(self) -> None:
        fronts = FrontServers(parse_networks(["192.0.2.1", "[2001:db8::1]", "198.51.100.0/24"]))
        assert all(fronts.trusts(address) for address in ("192.0.2.1", "2001:db8::1", "198.51.100.77"))
        assert not any(fronts.trusts(address) for address in ("192.0.2.2", "2001:db8::2", "198.51.101.1"))

    @pytest.mark.parametrize("text", ["", "10.0.0.1/8", "10.0.0.0/33", "example.com", "10.0.0"])
    def test_what_is_no_network(self, text: str) -> None:
        with pytest.raises(UsageError, match="is not an address or a network"):
            parse_networks([text])

    def test_the_proxy_protocol_needs_somebody_to_believe(self) -> None:
        with pytest.raises(UsageError, match="--proxy-protocol needs --trusted-proxy"):
            FrontServers(proxy_protocol=True)


class TestXForwardedFor:
    @pytest.mark.parametrize(
        ("value", "address"),
        [
            ("192.0.2.1", "192.0.2.1"),
            ("192.0.2.1:4711", "192.0.2.1"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:4711", "2001:db8::1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
        ],
    )
    def test_forms_of_an_address(self, value: str, address: str) -> None:
        assert seen(x_forwarded_for=value) == address

    def test_what_the_client_put_there_is_not_believed(self) -> None:
        assert seen(x_forwarded_for="127.0.0.1, 192.0.2.1") == "192.0.2.1"
        assert seen(x_forwarded_for="rubbish, 192.0.2.1") == "192.0.2.1"

    def test_front_servers_in_a_row(self) -> None:
        assert seen(x_forwarded_for=f"127.0.0.1, 192.0.2.1,{INNER}") == "192.0.2.1"

    def test_a_client_within_the_trusted_network(self) -> None:
        assert seen(x_forwarded_for=f"10.9.9.9, {INNER}") == "10.9.9.9"

    @pytest.mark.parametrize("value", ["", "unknown", "192.0.2.1,", "example.com", "192.0.2.1:port", "1.2.3.4.5"])
    def test_what_is_no_address(self, value: str) -> None:
        with pytest.raises(Misleading, match="is not an address"):
            seen(x_forwarded_for=value)


class TestForwarded:
    @pytest.mark.parametrize(
        ("value", "address"),
        [
            ("for=192.0.2.60;proto=http;by=203.0.113.43", "192.0.2.60"),  # the RFC's examples
            ('For="[2001:db8:cafe::17]:4711"', "2001:db8:cafe::17"),
            ("for=192.0.2.43, for=198.51.100.17", "198.51.100.17"),
            ('for=192.0.2.43, for="[2001:db8:cafe::17]"', "2001:db8:cafe::17"),
            (f"for=192.0.2.43,for={INNER}", "192.0.2.43"),
            ('by=10.0.0.1;host="a,b;c=d";for=192.0.2.43', "192.0.2.43"),
            (r'host="a\"b";for=192.0.2.43', "192.0.2.43"),
            ("for=unknown, for=192.0.2.43", "192.0.2.43"),
        ],
    )
    def test_forms(self, value: str, address: str) -> None:
        assert seen(forwarded=value) == address

    @pytest.mark.parametrize("value", ["for=unknown", "for=_hidden", "by=10.0.0.1", "for=_a, for=10.0.0.2"])
    def test_a_client_that_is_not_named(self, value: str) -> None:
        with pytest.raises(Misleading, match="is not an address"):
            seen(forwarded=value)

    @pytest.mark.parametrize(
        "value", ["", "192.0.2.1", "for=192.0.2.1;", "for=192.0.2.1,", "for=[2001:db8::1]", 'for="192.0.2.1', "for="]
    )
    def test_what_is_malformed(self, value: str) -> None:
        with pytest.raises(Misleading, match="is malformed"):
            seen(forwarded=value)

    def test_one_client_with_two_addresses(self) -> None:
        with pytest.raises(Misleading, match="has for twice"):
            seen(forwarded="for=192.0.2.1;FOR=192.0.2.2")

    @given(st.text(alphabet='for=1.2;,"\\[]: \tx', max_size=40))
    def test_nothing_else_is_raised(self, value: str) -> None:
        with contextlib.suppress(Misleading):
            seen(forwarded=value)


class TestBoth:
    def test_they_may_agree(self) -> None:
        assert seen(x_forwarded_for="192.0.2.1", forwarded="for=192.0.2.1") == "192.0.2.1"

    def test_a_header_that_the_front_server_lets_through_is_noticed(self) -> None:
        with pytest.raises(Misleading, match="must remove the one it does not set"):
            seen(x_forwarded_for="192.0.2.1", forwarded="for=127.0.0.1")


def test_addresses_as_policies_write_them() -> None:
    assert plain_address("::ffff:192.0.2.1") == "192.0.2.1"
    assert plain_address("2001:DB8::1") == "2001:db8::1"
    assert plain_address("") == ""
