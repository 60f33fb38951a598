from __future__ import annotations

from pathlib import Path

import pytest

from hubble.base.errors import UsageError
from hubble.cli.proxy_arguments import parser
from hubble.proxy.http.fallback import Site
from hubble.proxy.proxy import ProxyOptions
from hubble.worker.proxy_options import proxy_options
from tests.support.certificates import Authority


def options(*arguments: str) -> ProxyOptions:
    return proxy_options(parser().parse_args(arguments))


def test_without_any() -> None:
    chosen = options()
    assert (chosen.server.tls, chosen.server.path, chosen.fallback) == (None, "", None)
    assert not chosen.server.fronts.networks
    assert (chosen.server.keepalive.interval, chosen.server.keepalive.silence) == (20, 40)


def test_all_of_them(tmp_path: Path) -> None:
    ca = Authority(tmp_path)
    identity = ca.issue("localhost")
    chosen = options(
        *("--tls-cert", identity.cert, "--tls-key", identity.key, "--tls-client-ca", ca.file),
        *("--tls-client", "optional", "--trusted-proxy", "10.0.0.0/8", "-trusted-proxy=::1", "--proxy-protocol"),
        *("--path", "/hubble/", "--fallback", "http://127.0.0.1:8081", "--ping-interval", "5"),
    )
    assert chosen.server.tls is not None
    assert chosen.server.fronts.trusts("10.1.2.3") and chosen.server.fronts.trusts("::1")
    assert chosen.server.fronts.proxy_protocol
    assert chosen.server.path == "/hubble"
    assert isinstance(chosen.fallback, Site)
    assert (chosen.server.keepalive.interval, chosen.server.keepalive.silence) == (5, 40)


def test_two_pings_fit_into_the_silence() -> None:
    assert options("--ping-interval", "100").server.keepalive.silence == 200


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--tls-key", "x"], "--tls-key needs --tls-cert"),
        (["--tls-client-ca", "x"], "--tls-client-ca needs --tls-cert"),
        (["--tls-client", "required"], "--tls-client needs --tls-cert"),
        (["--tls-cert", "x", "--tls-client", "optional"], "--tls-client needs --tls-client-ca"),
        (["--tls-cert", "nowhere.pem"], "the certificate 'nowhere.pem' cannot be used: No such file"),
        (["--trusted-proxy", "nginx"], "'nginx' is not an address or a network"),
        (["--proxy-protocol"], "--proxy-protocol needs --trusted-proxy"),
        (["--path", "hubble"], "invalid --path 'hubble': write for example /hubble"),
        (["--path", "/a?b"], "write for example /hubble"),
        (["--fallback", "nginx"], "write 404 or the URL of a site"),
    ],
)
def test_what_cannot_be_meant(arguments: list[str], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        options(*arguments)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
