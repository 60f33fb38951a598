from __future__ import annotations

from pathlib import Path

import pytest

from hubble.base.errors import UsageError
from hubble.cli.agent import parser
from hubble.cli.dial_options import dial_options
from hubble.transport.dial.dial import DialOptions

PIN = "sha256:" + "0" * 64


def options(*arguments: str) -> DialOptions:
    return dial_options(parser().parse_intermixed_args(arguments))


def test_without_any() -> None:
    assert options() == DialOptions()


def test_all_of_them() -> None:
    chosen = options(
        *("-ca", "ca.pem", "--cert", "me.pem", "--cert-key", "me.key", "--server-name", "x", "--pin", PIN),
        *("-pin", PIN.upper().replace("SHA", "sha"), "--insecure", "--proxy", "socks5://p", "--host", "h"),
        *("--header", "A: 1", "--header", "B:2: 3"),
    )
    tls = chosen.tls
    assert (tls.ca_file, tls.cert_file, tls.key_file, tls.server_name) == ("ca.pem", "me.pem", "me.key", "x")
    assert (len(tls.pins), tls.insecure, chosen.proxy, chosen.host) == (2, True, "socks5://p", "h")
    assert chosen.headers == (("A", "1"), ("B", "2: 3"))


def test_the_key_to_register_with_is_another_one() -> None:
    parsed = parser().parse_intermixed_args(["-key", "secret", "--cert", "me.pem", "--cert-key", "me.key"])
    assert parsed.key == "secret"
    assert dial_options(parsed).tls.key_file == "me.key"


def test_headers_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "headers"
    file.write_text("Authorization: Bearer secret\n\nX-Other: 1\n")
    chosen = options("--header", f"@{file}", "--header", "Last: 2")
    assert chosen.headers == (("Authorization", "Bearer secret"), ("X-Other", "1"), ("Last", "2"))
    assert "secret" not in repr(chosen)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--header", "secret"], "a --header has no colon"),
        (["--header", "@nowhere"], "the header file nowhere cannot be read"),
        (["--header", "Host: x"], "for Host, use --host"),
        (["--cert-key", "x"], "give --cert as well"),
        (["--pin", "sha1:x"], "is not sha256:"),
    ],
)
def test_what_cannot_be_meant(arguments: list[str], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        options(*arguments)
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)
