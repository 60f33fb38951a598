from __future__ import annotations

import pytest

from hubble.agent.rules import Rule, parse_rules
from hubble.base.errors import UsageError

KEY = "s3cret"


class TestGood:
    @pytest.mark.parametrize(
        "text, meant",
        [
            ("2222:agent2:127.0.0.1:22", Rule(2222, "agent2", "127.0.0.1", 22)),
            ("0:agent2:host:65535", Rule(0, "agent2", "host", 65535)),
            ("65535:a:b:1", Rule(65535, "a", "b", 1)),
            ("0.0.0.0:2222:agent2:host:22", Rule(2222, "agent2", "host", 22, bind="0.0.0.0")),
            ("localhost:2222:agent2:host:22", Rule(2222, "agent2", "host", 22, bind="localhost")),
            ("[::1]:2222:agent2:host:22", Rule(2222, "agent2", "host", 22, bind="::1")),
            ("[::]:2222:agent2:[fe80::1%eth0]:22", Rule(2222, "agent2", "fe80::1%eth0", 22, bind="::")),
            ("2222:agent2:[::1]:22", Rule(2222, "agent2", "::1", 22)),
            ("2222:gate way/ü:host:22", Rule(2222, "gate way/ü", "host", 22)),
            ("2222:s3cret@agent2:host:22", Rule(2222, "agent2", "host", 22, key=KEY)),
            ("2222:a:b@agent2:host:22", Rule(2222, "agent2", "host", 22, key="a:b")),
            ("2222:a@b@agent2:host:22", Rule(2222, "agent2", "host", 22, key="a@b")),
            ("2222:80:@:@agent2:host:22", Rule(2222, "agent2", "host", 22, key="80:@:")),
            ("2222:[::1]:22@agent2:host:22", Rule(2222, "agent2", "host", 22, key="[::1]:22")),
            ("2222:@agent2:host:22", Rule(2222, "agent2", "host", 22)),
            ("127.0.0.1:2222:a:b@agent2:host:22", Rule(2222, "agent2", "host", 22, key="a:b")),
            ("[::1]:2222:1:2@agent2:host:22", Rule(2222, "agent2", "host", 22, bind="::1", key="1:2")),
        ],
    )
    def test_is_understood(self, text: str, meant: Rule) -> None:
        assert Rule.parse(text) == meant

    @pytest.mark.parametrize(
        "text",
        [
            "2222:agent2:127.0.0.1:22",
            "0.0.0.0:2222:agent2:host:22",
            "[::1]:2222:agent2:[::1]:22",
        ],
    )
    def test_is_told_as_it_was_written(self, text: str) -> None:
        assert str(Rule.parse(text)) == text

    def test_binds_to_loopback_unless_told_otherwise(self) -> None:
        assert Rule.parse("2222:agent2:host:22").bind == "127.0.0.1"
        assert Rule(2222, "agent2", "host", 22).bind == "127.0.0.1"


class TestBad:
    @pytest.mark.parametrize(
        "text, said",
        [
            ("", "the destination is missing; write"),
            ("2222", "the destination is missing; write"),
            ("2222:agent2", "the destination is missing; write"),
            ("2222:agent2:host", "the destination's port is missing; write"),
            ("2222:agent2:host:", "the destination's port is missing; write"),
            ("2222:agent2:host:ssh", "the destination's port is not a number"),
            ("2222:host:22", "the gateway is missing; write [bind:]port:[key@]gateway:host:port, for example 2230:"),
            ("ssh:agent2:host:22", "it is malformed"),
            ("-1:agent2:host:22", "it is malformed"),
            ("2222:agent2:::1:22", "it is malformed"),
            ("::1:2222:agent2:host:22", "it is malformed"),
            ("[::1:2222:agent2:host:22", "it is malformed"),
            ("a:b:2222:agent2:host:22", "it is malformed"),
            ("2222:agent2:host:22:", "the destination's port is missing"),
            ("2222:agent2:host:22 ", "the destination's port is not a number"),
            ("2222:agent2:host:22\n", "the destination's port is not a number"),
            ("2222::host:22", "the gateway is empty"),
            ("2222:key@:host:22", "the gateway is empty"),
            ("2222:agent2::22", "the host is empty"),
            (":2222:agent2:host:22", "the bind address is empty"),
            ("65536:agent2:host:22", "the port 65536 is out of range; write 0 to 65535"),
            ("99999999999999999999:agent2:host:22", "is out of range; write 0 to 65535"),
            ("2222:agent2:host:0", "the port 0 is out of range; write 1 to 65535"),
            ("2222:agent2:host:65536", "the port 65536 is out of range; write 1 to 65535"),
        ],
    )
    def test_is_refused_in_one_line_that_names_it(self, text: str, said: str) -> None:
        with pytest.raises(UsageError) as caught:
            Rule.parse(text)
        message = str(caught.value)
        assert message.startswith("rule ") and said in message
        assert message.isprintable()

    @pytest.mark.parametrize(
        "values", [(2222, "", "host", 22), (2222, "a", "", 22), (-1, "a", "b", 22), (2222, "a", "b", 0)]
    )
    def test_is_refused_when_made_of_values(self, values: tuple[int, str, str, int]) -> None:
        with pytest.raises(UsageError):
            Rule(*values)


class TestTheKey:
    def test_is_never_shown(self) -> None:
        rule = Rule.parse(f"2222:{KEY}@agent2:host:22")
        assert rule.key == KEY
        assert str(rule) == "2222:***@agent2:host:22"
        assert KEY not in repr(rule)

    @pytest.mark.parametrize(
        "text",
        [
            f"{KEY}@agent2:host:22",
            f"2222:{KEY}@agent2:host",
            f"2222:{KEY}@agent2:host:0",
            f"2222:{KEY}@:host:22",
            f"99999:{KEY}@agent2:host:22",
            f"{KEY}:2222@agent2:host:22",
            f"{KEY}:x:2222@agent2:host:22",
            f"a:{KEY}:b@c@agent2:host:22x",
        ],
    )
    def test_is_not_shown_by_a_refusal_either(self, text: str) -> None:
        with pytest.raises(UsageError) as caught:
            parse_rules([text])
        assert KEY not in str(caught.value)


class TestSeveral:
    def test_texts_and_rules(self) -> None:
        rule = Rule(1, "a", "b", 2)
        assert parse_rules([rule, "3:a:b:4"]) == [rule, Rule(3, "a", "b", 4)]

    def test_the_same_twice_is_refused(self) -> None:
        with pytest.raises(UsageError, match="rule 1:a:b:2 is given twice"):
            parse_rules(["1:a:b:2", "3:a:b:2", "1:a:b:2"])

    def test_the_same_listener_twice_is_refused(self) -> None:
        with pytest.raises(UsageError, match=r"rule 1:\*\*\*@c:d:3 listens on the same address as 1:\*\*\*@a:b:2"):
            parse_rules(["1:k@a:b:2", "127.0.0.1:1:l@c:d:3"])

    def test_free_ports_may_be_asked_for_any_number_of_times(self) -> None:
        assert len(parse_rules(["0:a:b:1", "0:a:b:1"])) == 2

    def test_the_same_port_of_two_addresses_is_no_clash(self) -> None:
        assert len(parse_rules(["127.0.0.1:1:a:b:2", "127.0.0.2:1:a:b:2", "[::1]:1:a:b:2"])) == 3
