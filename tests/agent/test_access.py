"""What an exit agent lets itself be asked for."""

from __future__ import annotations

import ipaddress

import pytest

from hubble.agent.access import AccessList
from hubble.base.errors import UsageError

PUBLIC = "203.0.113.5"


@pytest.mark.parametrize(
    ("allow", "deny", "host", "address", "port", "allowed"),
    [
        # Nothing given: everything.
        ([], [], "db", "10.0.0.1", 22, True),
        ([], [], "localhost", "127.0.0.1", 22, True),
        # Names, as they were asked for.
        (["db.internal:5432"], [], "db.internal", "10.0.0.1", 5432, True),
        (["db.internal:5432"], [], "DB.Internal.", "10.0.0.1", 5432, True),
        (["db.internal:5432"], [], "db.internal", "10.0.0.1", 5433, False),
        (["db.internal:5432"], [], "10.0.0.1", "10.0.0.1", 5432, False),
        (["*.example.com:443"], [], "www.example.com", PUBLIC, 443, True),
        (["*.example.com:443"], [], "example.com", PUBLIC, 443, False),
        (["*.example.com:443"], [], "www.example.com.evil.net", PUBLIC, 443, False),
        # Networks, by the address that is dialled.
        (["10.0.0.0/8:22"], [], "db", "10.9.8.7", 22, True),
        (["10.0.0.0/8:22"], [], "db", PUBLIC, 22, False),
        (["10.0.0.0/8:22"], [], "10.0.0.1", PUBLIC, 22, False),
        (["10.0.0.5:22"], [], "10.0.0.5", "10.0.0.5", 22, True),
        (["10.0.0.5:22"], [], "10.0.0.6", "10.0.0.6", 22, False),
        (["[fd00::/8]:22"], [], "x", "fd12::1", 22, True),
        (["[fd00::/8]:22"], [], "x", "fc12::1", 22, False),
        (["[fd00::7]:22"], [], "x", "fd00::7", 22, True),
        (["10.0.0.0/8:22"], [], "x", "::ffff:10.0.0.1", 22, True),
        (["[::ffff:10.0.0.0/104]:22"], [], "x", "10.0.0.1", 22, True),
        # Ports.
        (["*:1000-2000"], [], "x", PUBLIC, 1000, True),
        (["*:1000-2000"], [], "x", PUBLIC, 2000, True),
        (["*:1000-2000"], [], "x", PUBLIC, 2001, False),
        (["10.0.0.0/8:*"], [], "x", "10.0.0.1", 1, True),
        (["*:*"], [], "x", PUBLIC, 65535, True),
        (["*"], [], "x", PUBLIC, 22, True),
        # One of several.
        (["*:80", "10.0.0.0/8:22"], [], "x", "10.0.0.1", 22, True),
        # Denied goes before allowed.
        ([], ["10.0.0.0/8:*"], "db", "10.0.0.1", 22, False),
        ([], ["10.0.0.0/8:*"], "db", "11.0.0.1", 22, True),
        ([], ["*:25"], "mail", PUBLIC, 25, False),
        ([], ["*:25"], "mail", PUBLIC, 26, True),
        (["*:*"], ["10.0.0.0/8:22"], "db", "10.0.0.1", 22, False),
        (["10.0.0.1:22"], ["10.0.0.0/8:*"], "db", "10.0.0.1", 22, False),
        ([], ["secret.internal:*"], "secret.internal", "10.0.0.1", 22, False),
        ([], ["10.0.0.0/8:22"], "x", "::ffff:10.0.0.1", 22, False),
        ([], ["127.0.0.0/8:*"], "0", "0.0.0.0", 22, False),
        ([], ["[::1]:*"], "::", "::", 22, False),
        ([], ["127.0.0.0/8:*"], "x", "::ffff:0.0.0.0", 22, False),
        # A name that resolves to what is sheltered (rebinding).
        (["*.example.com:*"], [], "www.example.com", "127.0.0.1", 80, False),
        (["*.example.com:*"], [], "www.example.com", "169.254.169.254", 80, False),
        (["db.example.com:*"], [], "db.example.com", "127.0.0.1", 80, False),
        # Sheltered addresses are not among "everything".
        (["*:*"], [], "127.0.0.1", "127.0.0.1", 22, False),
        (["*:*"], [], "x", "127.5.5.5", 22, False),
        (["*:*"], [], "x", "::1", 22, False),
        (["*:*"], [], "x", "::ffff:127.0.0.1", 22, False),
        (["*:*"], [], "x", "0.0.0.0", 22, False),
        (["*:*"], [], "x", "::", 22, False),
        (["*:*"], [], "x", "169.254.1.1", 22, False),
        (["*:*"], [], "x", "fe80::1%eth0", 22, False),
        (["*:*"], [], "x", "fd00:ec2::254", 80, False),
        (["*:*"], [], "x", "168.63.129.16", 80, False),
        (["*:*"], [], "x", "100.100.100.200", 80, False),
        (["0.0.0.0/0:*"], [], "x", "127.0.0.1", 22, False),
        (["[::/0]:*"], [], "x", "::1", 22, False),
        (["[fd00::/8]:*"], [], "x", "fd00:ec2::254", 22, False),
        # Unless named.
        (["127.0.0.1:22"], [], "127.0.0.1", "127.0.0.1", 22, True),
        (["127.0.0.0/8:22"], [], "x", "127.0.0.9", 22, True),
        (["127.0.0.1:22"], [], "127.0.0.2", "127.0.0.2", 22, False),
        (["127.0.0.1:22", "*:80"], [], "127.0.0.1", "127.0.0.1", 80, False),
        (["[::1]:22"], [], "localhost", "::1", 22, True),
        (["localhost:22"], [], "localhost", "127.0.0.1", 22, True),
        (["localhost:22"], [], "localhost", "::1", 22, True),
        (["localhost:22"], [], "localhost", "169.254.169.254", 22, False),
        (["local*:22"], [], "localhost", "127.0.0.1", 22, False),
        (["169.254.169.254:80"], [], "x", "169.254.169.254", 80, True),
        (["[fe80::/10]:22"], [], "x", "fe80::1%eth0", 22, True),
        # IPv4 inside IPv6: what denies and shelters sees every form, what allows those that reach the very address.
        *(
            ([], ["10.0.0.0/8:22"], "x", address, 22, False)
            for address in (
                *("64:ff9b::10.1.2.3", "64:ff9b:1::10.1.2.3", "64:ff9b:1:a01:2:300::", "2002:a01:203::1"),
                *("2001:0:a01:203:8000:63bf:3fff:fdd2", "::10.1.2.3", "::ffff:0:10.1.2.3", "fd00::5efe:10.1.2.3"),
            )
        ),
        ([], ["10.0.0.0/8:22"], "x", "64:ff9b::11.1.2.3", 22, True),
        *(
            (["*:*"], [], "x", address, 80, False)
            for address in (
                *("64:ff9b::127.0.0.1", "64:ff9b::169.254.169.254", "2002:7f00:1::1", "2002:a9fe:a9fe::1"),
                *("::127.0.0.1", "::ffff:0:127.0.0.1", "64:ff9b:1::169.254.169.254", "64:ff9b::0.0.0.0"),
            )
        ),
        (["[::/0]:*"], [], "x", "64:ff9b::127.0.0.1", 80, False),
        (["[64:ff9b::/96]:*"], [], "x", "64:ff9b::127.0.0.1", 80, False),
        (["[64:ff9b::/96]:*"], [], "x", "64:ff9b::203.0.113.5", 80, True),
        (["[64:ff9b::169.254.169.254]:80"], [], "x", "64:ff9b::169.254.169.254", 80, True),
        (["169.254.169.254:80"], [], "x", "64:ff9b::169.254.169.254", 80, True),
        (["10.0.0.0/8:22"], [], "x", "64:ff9b::10.1.2.3", 22, True),
        (["10.0.0.0/8:22"], [], "x", "2002:a01:203::1", 22, False),
        (["10.0.0.0/8:22"], [], "x", "::10.1.2.3", 22, False),
        (["*:*"], [], "x", "2002:cb00:7105::1", 80, True),
        # What is no address is not dialled.
        ([], [], "db", "not an address", 22, False),
    ],
)
def test_destinations(allow: list[str], deny: list[str], host: str, address: str, port: int, allowed: bool) -> None:
    access = AccessList(allow, deny)
    reason = access.check(host, address, port)
    assert (reason is None) is allowed, reason
    if "%" not in address and address != "not an address":
        assert access.check(host, ipaddress.ip_address(address), port) == reason


def test_reasons() -> None:
    access = AccessList(["*:22"], ["10.0.0.0/8:22"])
    assert access.check("db", "10.0.0.1", 22) == "--deny 10.0.0.0/8:22 forbids it"
    assert access.check("db", PUBLIC, 23) == "no --allow names it"
    assert access.check("db", "127.0.0.1", 22) == "it is in 127.0.0.0/8, which needs an --allow of its own"
    assert access.check("db", "nonsense", 22) == "nonsense is not an address"


@pytest.mark.parametrize(
    ("pattern", "wrong"),
    [
        ("", "write host:port"),
        ("db", "write host:port"),
        ("10.0.0.0/8", "write host:port"),
        ("db:", "write host:port"),
        (":22", "write host:port"),
        ("fd00::/8:22", "write host:port"),
        ("db:ssh", "write host:port"),
        ("db:22,23", "write host:port"),
        ("db:1-2-3", "write host:port"),
        ("db:-5", "write host:port"),
        ("db:0", "write 1 to 65535"),
        ("db:70000", "write 1 to 65535"),
        ("db:20-10", "write 1 to 65535"),
        ("10.0.0.1/8:22", "10.0.0.1/8 has host bits set"),
        ("10.0.0.0/33:22", "has an invalid network"),
        ("[db]:22", "has an invalid network"),
        ("[fd00::/200]:22", "has an invalid network"),
    ],
)
def test_bad_patterns(pattern: str, wrong: str) -> None:
    options: tuple[list[str], list[str]]
    for options in ([pattern], []), ([], [pattern]):
        with pytest.raises(UsageError) as caught:
            AccessList(*options)
        message = str(caught.value)
        assert f'"{pattern}"' in message
        assert wrong in message
        assert "\n" not in message
