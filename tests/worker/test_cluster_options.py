"""A proxy's options for being one of several machines."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from hubble.base.errors import UsageError
from hubble.cli.arguments import Parser
from hubble.mesh.cluster import Cluster
from hubble.options.proxy import CLUSTER
from hubble.worker.cluster_options import VARIABLE, cluster
from tests.support.certificates import Authority

URL = "redis://user:geheim@redis.example/1"
SECRET = "sixteen bytes or more"


def read(*arguments: str) -> Cluster | None:
    parser = Parser("test", "for a test", [CLUSTER])
    return cluster(parser.parse_args(arguments))


@pytest.fixture
def secret(tmp_path: Path) -> str:
    path = tmp_path / "secret"
    path.write_text(f"{SECRET}\n")
    path.chmod(0o600)
    return str(path)


def test_alone_unless_told_otherwise() -> None:
    assert read() is None


def test_all_options(secret: str) -> None:
    options = ["-cluster", URL, "--node-name", "here", "--advertise", "192.0.2.1:7000", "--cluster-secret-file", secret]
    assert read(*options) == Cluster(URL, "here", "192.0.2.1", 7000, SECRET.encode())


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("proxy.example", "proxy.example", 0), ("[2001:db8::1]:7000", "2001:db8::1", 7000), ("[::1]", "::1", 0)],
)
def test_what_is_advertised(secret: str, text: str, host: str, port: int) -> None:
    found = read("--cluster", URL, "--advertise", text, "--cluster-secret-file", secret)
    assert found is not None and (found.host, found.port) == (host, port)
    assert found.node


def test_the_url_may_come_from_a_file_or_the_environment(
    secret: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "url"
    file.write_text(f"{URL}\n")
    file.chmod(0o600)
    rest = ["--advertise", "192.0.2.1", "--cluster-secret-file", secret]
    for value in (URL, f"@file:{file}"):
        monkeypatch.setenv(VARIABLE, value)
        found = read(*rest)
        assert found is not None and found.directory == URL
    monkeypatch.setenv(VARIABLE, "redis://elsewhere")
    found = read("--cluster", f"@file:{file}", *rest)
    assert found is not None and found.directory == URL


def test_neither_url_nor_secret_is_shown(secret: str) -> None:
    shown = repr(read("--cluster", URL, "--advertise", "192.0.2.1", "--cluster-secret-file", secret))
    assert "geheim" not in shown and SECRET not in shown


def test_a_secret_that_others_can_read_is_warned_of(secret: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    Path(secret).chmod(0o644)
    read("--cluster", URL, "--advertise", "192.0.2.1", "--cluster-secret-file", secret)
    assert "other users of this machine can read" in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--node-name", "here"], "--node-name needs --cluster"),
        (["--cluster", URL], "set --advertise"),
        (["--cluster", URL, "--advertise", "192.0.2.1"], "set --cluster-secret-file"),
        (["--cluster", URL, "--advertise", "a:b:c"], "invalid --advertise 'a:b:c': write"),
        (["--cluster", URL, "--advertise", "a:70000", "--cluster-secret-file", "SECRET"], "not between 1 and 65535"),
        (["--cluster", URL, "--advertise", "a", "--cluster-secret-file", "/nowhere"], "cannot read /nowhere"),
        (["--cluster", URL, "--advertise", "a", "--cluster-secret-file", "EMPTY"], "EMPTY is empty"),
        (
            ["--cluster", URL, "--advertise", "a", "--cluster-secret-file", "SHORT"],
            "too short: it needs at least 16 bytes",
        ),
        (["--cluster", "@file:/nowhere"], "--cluster: cannot read /nowhere"),
    ],
)
def test_invalid_options_are_reported_in_one_line(
    arguments: list[str], complaint: str, secret: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("EMPTY").touch()
    Path("SHORT").write_text("short")
    with pytest.raises(UsageError, match=complaint) as caught:
        read(*(secret if argument == "SECRET" else argument for argument in arguments))
    assert "\n" not in str(caught.value)


def test_tls_between_machines(secret: str, tmp_path: Path) -> None:
    ca = Authority(tmp_path)
    identity = ca.issue("any.example")
    rest = ["--cluster", URL, "--advertise", "192.0.2.1", "--cluster-secret-file", secret]
    found = read(*rest, "--cluster-ca", ca.file, "--cluster-cert", identity.cert, "--cluster-key", identity.key)
    assert found is not None and found.tls is not None
    for given in (["--cluster-ca", ca.file], ["--cluster-cert", identity.cert], ["--cluster-key", identity.key]):
        with pytest.raises(UsageError, match="needs both --cluster-ca and --cluster-cert"):
            read(*rest, *given)
        with pytest.raises(UsageError, match="needs --cluster"):
            read(*given)
