from __future__ import annotations

from collections.abc import Callable

import pytest

from hubble.cli import agent
from hubble.cli import proxy_arguments as proxy
from hubble.cli.arguments import Parser
from hubble.options.common import LOGGING
from hubble.options.option import FLAG, Group, Option, read_count, read_flag, read_seconds, read_size


@pytest.fixture
def parser() -> Parser:
    options = (Option("url", "A URL."), Option("key", "A key."), Option("wild", "A flag.", FLAG))
    parser = Parser("program", "What it is for.", [Group("Options", options), LOGGING])
    parser.add_argument("rules", nargs="*", metavar="RULE")
    return parser


@pytest.mark.parametrize(
    "arguments", [["-url", "u"], ["--url", "u"], ["-url=u"], ["--url=u"], ["-url", "x", "--url=u"]], ids=" ".join
)
def test_one_dash_or_two_with_or_without_an_equals_sign(parser: Parser, arguments: list[str]) -> None:
    assert parser.parse_args(arguments).url == "u"


@pytest.mark.parametrize("value", ["a=b", "", "-dash", "a b", "ü", "@:"])
def test_values_behind_an_equals_sign_may_be_anything(parser: Parser, value: str) -> None:
    assert parser.parse_args([f"-key={value}"]).key == value


@pytest.mark.parametrize(
    "written, meant",
    [
        (["-wild"], True),
        (["--wild"], True),
        (["-wild=true"], True),
        (["--wild=1"], True),
        (["-wild=T"], True),
        (["-wild=false"], False),
        (["--wild=0"], False),
        (["-wild", "-wild=false"], False),
        ([], False),
    ],
)
def test_switches(parser: Parser, written: list[str], meant: bool) -> None:
    assert parser.parse_args(written).wild is meant


@pytest.mark.parametrize("dashes", ["-", "--"])
def test_a_switch_leaves_what_follows_alone(parser: Parser, dashes: str) -> None:
    options = parser.parse_intermixed_args([f"{dashes}wild", "2222:a:b:22", "-url", "u", "true"])
    assert (options.wild, options.url, options.rules) == (True, "u", ["2222:a:b:22", "true"])


def test_rules_may_stand_anywhere(parser: Parser) -> None:
    options = parser.parse_intermixed_args(["1:a:b:1", "-url", "u", "2:a:b:2", "-wild", "3:a:b:3"])
    assert (options.rules, options.url, options.wild) == (["1:a:b:1", "2:a:b:2", "3:a:b:3"], "u", True)


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["-nonsense"], "-nonsense"),
        (["--ur", "u"], "--ur"),  # no abbreviations: they would change their meaning with the next option
        (["-url"], "expected one argument"),
        (["-wild=perhaps"], "'perhaps' is not a boolean; write true or false"),
        (["-log-level", "loud"], "loud"),
        (["--log-format=xml"], "xml"),
    ],
)
def test_an_invalid_option_is_one_line_and_status_2(
    parser: Parser, arguments: list[str], said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parser.parse_intermixed_args(arguments)
    out, err = capfd.readouterr()
    assert (ended.value.code, out) == (2, "")
    assert err.startswith("program: ") and said in err
    assert err.count("\n") == 1 and err.endswith("(program -h lists the options)\n")


@pytest.mark.parametrize("make", [agent.parser, proxy.parser])
@pytest.mark.parametrize("option", ["-h", "-help", "--help"])
def test_help_shows_every_option(make: Callable[[], Parser], option: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        make().parse_args([option])
    out = capfd.readouterr().out
    assert ended.value.code == 0 and out.startswith("usage: hubble-")
    for action in make()._actions:
        assert not action.option_strings or f"  {action.option_strings[-1]}" in out


@pytest.mark.parametrize("make, options", [
    (agent.parser, ("url", "name", "key", "ca", "h")),
    (proxy.parser, ("listen", "authgrant", "authdeny", "authlua", "h")),
])  # fmt: skip
def test_the_originals_options_are_there(make: Callable[[], Parser], options: tuple[str, ...]) -> None:
    known = {option for action in make()._actions for option in action.option_strings}
    assert {f"-{option}" for option in options} <= known
    assert {f"--{option}" for option in options} <= known


@pytest.mark.parametrize("text, meant", [("65536", 65536), ("1k", 1024), ("256K", 256 << 10), ("16M", 16 << 20)])
def test_sizes(text: str, meant: int) -> None:
    assert read_size(text) == meant


@pytest.mark.parametrize("text", ["", "0", "K", "-1", "1.5M", "1T", "0K", "many"])
def test_invalid_sizes(text: str) -> None:
    with pytest.raises(ValueError, match="number of bytes"):
        read_size(text)


@pytest.mark.parametrize("text, meant", [("1", 1.0), ("0.25", 0.25), ("1e2", 100.0)])
def test_seconds(text: str, meant: float) -> None:
    assert read_seconds(text) == meant


@pytest.mark.parametrize("text", ["", "0", "-1", "nan", "inf", "1s", "1e99"])
def test_invalid_times(text: str) -> None:
    with pytest.raises(ValueError, match="number of seconds above 0"):
        read_seconds(text)


def test_booleans() -> None:
    assert [read_flag(text) for text in ("true", "TRUE", "t", "1")] == [True] * 4
    assert [read_flag(text) for text in ("false", "F", "0")] == [False] * 3


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "many", "\u0663"])
def test_invalid_counts(text: str) -> None:
    with pytest.raises(ValueError, match="whole number above 0"):
        read_count(text)


def test_an_unknown_option_names_the_nearest(parser: Parser, capfd: pytest.CaptureFixture[str]) -> None:
    for given, nearest in (("-ulr", "-url"), ("--wlid", "--wild")):
        with pytest.raises(SystemExit):
            parser.parse_intermixed_args([given, "x"])
        assert f"unknown option {given}; did you mean {nearest}?" in capfd.readouterr().err
