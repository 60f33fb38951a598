"""The file of identities and rules: what it decides, and what it says of its mistakes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hubble.base.errors import UsageError
from hubble.policy import ConnectionRequest, RegistrationRequest, RulesPolicy
from hubble.policy.keys import generate_key, hash_key
from hubble.policy.rulesfile import literal_address

Make = Callable[[str], RulesPolicy]


@pytest.fixture(scope="module")
def hashes() -> dict[str, str]:
    return {key: hash_key(key) for key in ("alice-key", "new-key", "bob-key", "door")}


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def policy(text: str) -> RulesPolicy:
        path = tmp_path / "rules.toml"
        path.write_text(text)
        return RulesPolicy(path)

    return policy


REQUEST = ConnectionRequest(
    host="10.1.2.3", port=5432, gateway="db-1", source="laptop-alice", source_ip="192.0.2.1", identity="alice",
    session="s",
)  # fmt: skip

IDENTITIES = "".join(f'[[identity]]\nname = "{name}"\nanonymous = true\nregister = "*"\n' for name in ("alice", "bob"))


@pytest.mark.parametrize(
    ("rules", "request_changes", "allowed"),
    [
        ("", {}, False),
        ("[[rule]]", {}, True),
        ('[[rule]]\naction = "deny"', {}, False),
        # Each fact, as one and as one of several.
        ('[[rule]]\nidentity = "alice"', {}, True),
        ('[[rule]]\nidentity = "bob"', {}, False),
        ('[[rule]]\nidentity = ["bob", "al*"]', {}, True),
        ('[[rule]]\nidentity = "*"', {"identity": ""}, True),
        ('[[rule]]\nidentity = "?*"', {"identity": ""}, False),
        ('[[rule]]\nsource = "laptop-*"', {}, True),
        ('[[rule]]\nsource = "laptop-*"', {"source": "server"}, False),
        ('[[rule]]\ngateway = "db-*"', {}, True),
        ('[[rule]]\ngateway = "db-*"', {"gateway": "web"}, False),
        ('[[rule]]\ngateway = "db-*"', {"gateway": "DB-1"}, False),
        ('[[rule]]\nhost = "10.0.0.0/8"', {}, True),
        ('[[rule]]\nhost = "10.0.0.0/8"', {"host": "11.0.0.1"}, False),
        ('[[rule]]\nhost = "10.1.2.3"', {}, True),
        ('[[rule]]\nhost = "10.1.2.3"', {"host": "10.1.2.4"}, False),
        ('[[rule]]\nhost = "10.1.2.3"', {"host": "::ffff:10.1.2.3"}, True),
        ('[[rule]]\nhost = "127.0.0.0/8"', {"host": "127.1"}, True),
        ('[[rule]]\nhost = "::ffff:127.0.0.0/104"', {"host": "127.1"}, True),
        ('[[rule]]\nhost = "10.0.0.0/8"', {"host": "64:ff9b::10.1.2.3"}, True),
        ('[[rule]]\nhost = "10.0.0.0/8"', {"host": "2002:a01:203::1"}, False),
        ('[[rule]]\nhost = "10.0.0.0/8"\naction = "deny"\n[[rule]]', {"host": "2002:a01:203::1"}, False),
        ('[[rule]]\nhost = "10.0.0.0/8"\naction = "deny"\n[[rule]]', {"host": "::10.1.2.3"}, False),
        ('[[rule]]\nhost = "10.0.0.0/8"\naction = "deny"\n[[rule]]', {"host": "64:ff9b::10.1.2.3"}, False),
        ('[[rule]]\nhost = "10.0.0.0/8"\naction = "deny"\n[[rule]]', {"host": "64:ff9b::11.1.2.3"}, True),
        ('[[rule]]\nhost = "127.0.0.0/8"', {"host": "0.0.0.0"}, True),
        ('[[rule]]\nhost = "::1"', {"host": "::"}, True),
        ('[[rule]]\nhost = "127.0.0.0/8"', {"host": "2130706433"}, True),
        ('[[rule]]\nhost = "127.0.0.0/8"', {"host": "0x7f.0.0.1"}, True),
        ('[[rule]]\nhost = "10.0.0.0/8"', {"host": "ten.example.com"}, False),
        ('[[rule]]\nhost = "fd00::/8"', {"host": "fd12::1"}, True),
        ('[[rule]]\nhost = "fd00::/8"', {"host": "[fd12::1]"}, True),
        ('[[rule]]\nhost = "fd00::/8"', {"host": "fe80::1"}, False),
        ('[[rule]]\nhost = "*.example.com"', {"host": "db.EXAMPLE.com."}, True),
        ('[[rule]]\nhost = "*.Example.com"', {"host": "db.example.com"}, True),
        ('[[rule]]\nhost = "*.example.com"', {"host": "example.com"}, False),
        ('[[rule]]\nhost = "*.example.com"', {"host": "x.example.com.evil.net"}, False),
        ('[[rule]]\nhost = ["localhost", "10.0.0.0/8"]', {"host": "localhost"}, True),
        ('[[rule]]\nhost = ["localhost", "10.0.0.0/8"]', {}, True),
        ("[[rule]]\nport = 5432", {}, True),
        ("[[rule]]\nport = 5433", {}, False),
        ('[[rule]]\nport = [22, "5000-6000"]', {}, True),
        ('[[rule]]\nport = "5432"', {}, True),
        ('[[rule]]\nport = "5000-5431"', {}, False),
        ('[[rule]]\nport = "5432-5432"', {}, True),
        # All facts of a rule must hold, and the first rule of which they do decides.
        ('[[rule]]\ngateway = "db-*"\nport = 22', {}, False),
        ('[[rule]]\naction = "deny"\nport = 5432\n[[rule]]', {}, False),
        ('[[rule]]\naction = "deny"\nport = 22\n[[rule]]', {}, True),
        ('[[rule]]\nport = 5432\n[[rule]]\naction = "deny"', {}, True),
        ('[[rule]]\naction = "allow"\nport = 22\n[[rule]]\naction = "deny"', {}, False),
    ],
)
def test_sessions(make: Make, rules: str, request_changes: dict[str, object], allowed: bool) -> None:
    policy = make(IDENTITIES + rules)
    decision = policy.connect(replace(REQUEST, **request_changes))  # type: ignore[arg-type]
    assert decision.allowed is allowed
    assert decision.reason == ("" if allowed else "Unauthorized")


def test_the_detail_names_the_rule(make: Make) -> None:
    policy = make(IDENTITIES + '[[rule]]\nname = "databases"\nport = 5432\n[[rule]]\naction = "deny"\nport = 22\n')
    target = 'to reach gateway "db-1" at 10.1.2.3'
    assert policy.connect(REQUEST).detail == f'rule 1 ("databases") allows "alice" {target}:5432'
    assert policy.connect(replace(REQUEST, port=22)).detail == f'rule 2 denies "alice" {target}:22'
    assert policy.connect(replace(REQUEST, port=80)).detail == f'no rule allows "alice" {target}:80'


def test_a_rule_may_ask_for_a_key(make: Make, hashes: dict[str, str]) -> None:
    policy = make(IDENTITIES + f'[[rule]]\nkey = "{hashes["door"]}"\n')
    assert policy.connect(replace(REQUEST, key="door")).allowed
    assert not policy.connect(replace(REQUEST, key="dooz")).allowed
    assert not policy.connect(REQUEST).allowed


def test_an_identity_that_left_the_file_has_no_rights(make: Make) -> None:
    decision = make("[[rule]]\n").connect(REQUEST)
    assert not decision.allowed
    assert decision.detail == 'the identity "alice" was removed from the file'


class TestRegistration:
    @pytest.fixture
    def policy(self, make: Make, hashes: dict[str, str]) -> RulesPolicy:
        return make(
            f"""
            [[identity]]
            name = "alice"
            key = ["{hashes["alice-key"]}", "{hashes["new-key"]}"]
            register = ["alice-*", "shared"]

            [[identity]]
            name = "bob"
            key = "{hashes["bob-key"]}"
            register = ["bob", "shared"]

            [[identity]]
            name = "site"
            certificate = "CN=site-*,O=Example"
            register = "site-*"

            [[identity]]
            name = "both"
            certificate = "CN=both"
            key = "{hashes["bob-key"]}"
            register = "both"

            [[identity]]
            name = "guest"
            anonymous = true
            register = "guest-*"
            """
        )

    @pytest.mark.parametrize(
        ("name", "key", "subject", "identity"),
        [
            ("alice-laptop", "alice-key", "", "alice"),
            ("alice-laptop", "new-key", "", "alice"),
            ("alice-laptop", "bob-key", "", None),
            ("alice-laptop", "", "", None),
            ("alice", "alice-key", "", None),
            ("shared", "alice-key", "", "alice"),
            ("shared", "bob-key", "", "bob"),
            ("bob", "bob-key", "", "bob"),
            ("bobby", "bob-key", "", None),
            ("site-7", "", "CN=site-7,O=Example", "site"),
            ("site-7", "", "CN=other,O=Example", None),
            ("site-7", "alice-key", "", None),
            ("both", "bob-key", "CN=both", "both"),
            ("both", "bob-key", "", None),
            ("both", "", "CN=both", None),
            ("guest-1", "", "", "guest"),
            ("guest-1", "anything", "", "guest"),
            ("unknown", "alice-key", "", None),
        ],
    )
    def test_who_may(self, policy: RulesPolicy, name: str, key: str, subject: str, identity: str | None) -> None:
        decision = policy.register(RegistrationRequest(name, key, "192.0.2.1", subject))
        assert decision.allowed is (identity is not None)
        assert decision.identity == (identity or "")
        assert not key or key not in decision.detail

    def test_the_detail_says_why(self, policy: RulesPolicy) -> None:
        def detail(name: str, key: str) -> str:
            return policy.register(RegistrationRequest(name, key)).detail

        assert detail("bob", "bob-key") == '"bob" may register "bob"'
        assert (
            detail("bob", "wrong") == 'neither the key nor the certificate proves an identity that may register "bob"'
        )
        assert detail("nobody", "bob-key") == 'no identity may register "nobody"'

    def test_too_many_keys_at_once_are_no_denial(self, policy: RulesPolicy, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("hubble.policy.verifier.PATIENCE", 0)
        monkeypatch.setattr(policy._verifier._turns, "_free", 0)
        decision = policy.register(RegistrationRequest("bob", "bob-key"))
        assert decision.busy and not decision.allowed and not decision.error
        assert decision.reason == "busy, try again"

    def test_a_generated_key(self, make: Make, hashes: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
        """It is found at once, also behind an identity whose key would be slow to verify."""
        key, hashed = generate_key()
        monkeypatch.setattr("hubble.policy.keys._scrypt", None)
        policy = make(
            f"""
            [[identity]]
            name = "slow"
            key = "{hashes["bob-key"]}"
            register = "*"

            [[identity]]
            name = "fast"
            key = "{hashed}"
            register = "*"
            """
        )
        assert policy.register(RegistrationRequest("x", key)).identity == "fast"


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("a = " + "[" * 3000, "nested too deeply"),
        ("[[rule]", "(at line 1, column 7)"),
        ("x = = 1", "(at line 1, column 5)"),
        ('rules = "all"', 'rules: is unknown; did you mean "rule"?'),
        ("[rule]\nport = 22", "rule: is not a list of tables; write each under its own [[rule]]"),
        ("[[rule]]\nports = 22", 'rule 1: ports: is unknown; did you mean "port"?'),
        ("[[rule]]\ncolour = 1", "rule 1: colour: is unknown; write one of: name, action, identity, source, gateway,"),
        (
            "[[rule]]\nport = 70000",
            "rule 1: port: 70000 is not a port; write a number from 1 to 65535, or a range such",
        ),
        ("[[rule]]\nport = 0", "rule 1: port: 0 is not a port"),
        ("[[rule]]\nport = true", "rule 1: port: True is not a port"),
        ('[[rule]]\nport = "9-5"', "rule 1: port: '9-5' is not a port"),
        ('[[rule]]\nport = "ssh"', "rule 1: port: 'ssh' is not a port"),
        ("[[rule]]\n[[rule]]\nport = []", "rule 2: port: the list is empty"),
        ('[[rule]]\nname = "dbs"\nport = "x"', 'rule 1 ("dbs"): port: '),
        ('[[rule]]\naction = "permit"', 'rule 1: action: is "permit"; write "allow" or "deny"'),
        ("[[rule]]\naction = true", "rule 1: action: is not a text; write it in quotes"),
        ('[[rule]]\nhost = "10.0.0.0/33"', 'rule 1: host: "10.0.0.0/33" is not a network: '),
        ('[[rule]]\nhost = "10.1.2.3/8"', 'host: "10.1.2.3/8" is not a network: 10.1.2.3/8 has host bits set; write'),
        ("[[rule]]\nhost = 10", "rule 1: host: 10 is not a host"),
        ('[[rule]]\nidentity = [""]', "rule 1: identity: '' is not a name"),
        ('[[rule]]\nkey = "plain"', "rule 1: key: the value is not a hashed key; make one with: hubble-proxy hash-key"),
        ("[[rule]]\nkey = 5", "rule 1: key: the value is not a hashed key"),
        ("[[identity]]\n", 'identity 1: name: is missing; write one, for example name = "alice"'),
        (
            '[[identity]]\nname = "a"',
            'identity 1 ("a"): key: the proof is missing or contradictory; write a hashed key, a certificate',
        ),
        (
            '[[identity]]\nname = "a"\nanonymous = 1',
            'identity 1 ("a"): anonymous: is not a boolean; write true or false',
        ),
        ('[[identity]]\nname = "a"\nanonymous = true\ncertificate = "x"', 'identity 1 ("a"): key: the proof'),
        ('[[identity]]\nname = "a"\nkey = "k3y-plain"', 'identity 1 ("a"): key: the value is not a hashed key'),
        (
            '[[identity]]\nname = "a"\nanonymous = true',
            'identity 1 ("a"): register: is missing; write one, for example',
        ),
        (IDENTITIES + IDENTITIES, 'two identities have the name "alice"; give one a list of keys instead'),
    ],
)
def test_mistakes_in_the_file(make: Make, tmp_path: Path, text: str, wrong: str) -> None:
    with pytest.raises(UsageError) as caught:
        make(text)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path}/rules.toml: ")
    assert wrong in message
    assert "\n" not in message
    assert "plain" not in message


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="utf-8"):
        RulesPolicy(path)


@pytest.mark.parametrize("name", ["db", "db.example.com", "10.1.2.3.example.com", "", "1.2.3.4.5", "::x", "a b", "\0"])
def test_names_are_no_addresses(name: str) -> None:
    assert literal_address(name) is None
