"""What a resolver is asked for, and what never reaches one."""

from __future__ import annotations

import pytest

from hubble.base.errors import DialError
from hubble.transport import addresses
from hubble.transport.hostnames import host_problem


@pytest.mark.parametrize(
    "host",
    [
        *("db", "db.example.com", "db.example.com.", "_ldap._tcp.example.com", "my_service", "a-", "0x7f.1", "127.1"),
        *("10.0.0.1", "::1", "fe80::1%eth0", "::ffff:10.0.0.1", "bücher.example", "x" * 63, "1.2.3.4.5"),
        ".".join(["x" * 49] * 5),
    ],
)
def test_names_and_addresses_are_valid(host: str) -> None:
    assert host_problem(host) is None


@pytest.mark.parametrize(
    ("host", "problem"),
    [
        ("", "is empty"),
        (".", "has an empty label between its dots"),
        ("a..b", "has an empty label between its dots"),
        (".a", "has an empty label between its dots"),
        ("x" * 64, "has a label of 64 characters; a label has at most 63"),
        (".".join(["x" * 50] * 5), "has 254 characters; a host name has at most 253"),
        ("x" * 4096, "has 4096 characters; a host name has at most 253"),
        ("ü" * 4096, "has 4096 characters; a host name has at most 253"),
        ("nul\0", "contains the character U+0000"),
        ("a\nb", "contains the character U+000A"),
        ("a b", "contains the character U+0020"),
        ("a\x85b", "contains the character U+0085"),
        ("a\u202eb", "contains the character U+202E"),
        ("a\ud800", "contains the character U+D800"),
        ("a/b", 'contains the character "/"'),
        ("[::1]", 'contains the character "["'),
        ("*", 'contains the character "*"'),
        ("ü" * 63, "is not valid as an internationalized host name"),
        ("ü..b", "is not valid as an internationalized host name"),
    ],
)
def test_what_is_neither_is_refused_before_the_resolver_is_asked(
    host: str, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert host_problem(host) == problem
    monkeypatch.setattr(
        "hubble.transport.addresses.getaddrinfo", lambda *_, **__: pytest.fail("the resolver was asked")
    )
    with pytest.raises(DialError) as caught:
        addresses.connect(host, 80, 5)
    text = str(caught.value)
    assert problem in text and text.isprintable() and len(text) < 200
