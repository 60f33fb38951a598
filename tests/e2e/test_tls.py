"""Links over TLS: everything that holds for plain ones, and whom the certificates let in."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import gevent
import pytest

from tests.support.certificates import Authority, Identity
from tests.support.commands import hubble
from tests.support.dialling import pin_by_openssl
from tests.support.scale import MB
from tests.support.services import Exchange, Service, echo
from tests.support.sockets import assert_echo, connect, echoed
from tests.support.stage import Stage, Tunnel
from tests.support.traffic import Progress, exchange

RECORD = 16 * 1024  # the most bytes that one holds (RFC 8446, section 5.1)
RULES = """
[[identity]]
name = "office"
certificate = "CN=office-*"
register = "entry"

[[identity]]
name = "lab"
certificate = "CN=lab-*"
register = "exit"

[[rule]]
name = "the office reaches the lab"
identity = "office"
gateway = "exit"
"""


@pytest.fixture
def ca(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def identity(ca: Authority) -> Identity:
    return ca.issue("127.0.0.1", "localhost")


def serving(identity: Identity, *more: str) -> list[str]:
    """The proxy's options."""
    return ["--tls-cert", identity.cert, "--tls-key", identity.key, *more]


def tls_tunnel(stage: Stage, ca: Authority, identity: Identity, *ports: int, relays: bool = False) -> Tunnel:
    trusting = ["-ca", ca.file]
    return stage.tunnel(
        *ports, relays=relays, proxy_options=serving(identity), entry_options=trusting, exit_options=trusting
    )


def showing(ca: Authority, identity: Identity) -> list[str]:
    """The options of an agent that has a certificate."""
    return ["-ca", ca.file, "--cert", identity.cert, "--cert-key", identity.key]


def interrupted_exchange(tunnel: Tunnel, service: Exchange, interrupt: Callable[[], object]) -> None:
    """One session both ways, with `interrupt()` in its midst."""
    seed, progress = random.randrange(2**32), Progress()
    session = gevent.spawn(exchange, tunnel.port(), seed, 10 * MB, progress)
    progress.wait(2 * MB, within=20)
    interrupt()
    assert progress.total < 20 * MB, "the interruption came too late to show anything"
    session.get()
    assert not service.failures


def test_streams_arrive_whole(stage: Stage, ca: Authority, identity: Identity) -> None:
    service = stage.add(Exchange())
    tunnel = tls_tunnel(stage, ca, identity, service.port)
    for size in (0, 1, RECORD, RECORD + 1, 5 * MB):
        exchange(tunnel.port(), random.randrange(2**32), size)
    assert not service.failures


@pytest.mark.parametrize("how", ["reset", "end"])
def test_a_session_survives_cut_links(stage: Stage, ca: Authority, identity: Identity, how: str) -> None:
    service = stage.add(Exchange())
    tunnel = tls_tunnel(stage, ca, identity, service.port, relays=True)
    interrupted_exchange(tunnel, service, lambda: [relay.cut(how) for relay in tunnel.relays])  # type: ignore[arg-type]


def test_a_session_survives_a_killed_proxy(stage: Stage, ca: Authority, identity: Identity) -> None:
    service = stage.add(Exchange())
    tunnel = tls_tunnel(stage, ca, identity, service.port)
    interrupted_exchange(tunnel, service, tunnel.proxy.restart)


def test_a_session_survives_a_proxy_that_ends_in_order(stage: Stage, ca: Authority, identity: Identity) -> None:
    service = stage.add(Exchange())
    tunnel = tls_tunnel(stage, ca, identity, service.port)

    def restart() -> None:
        assert tunnel.proxy.stop() == 0
        tunnel.proxy.start()

    interrupted_exchange(tunnel, service, restart)


def test_a_renewed_certificate_is_used_and_no_session_is_lost(stage: Stage, ca: Authority, identity: Identity) -> None:
    renewed = ca.issue("127.0.0.1")
    pin = pin_by_openssl(renewed)
    tunnel = tls_tunnel(stage, ca, identity, stage.add(Service(echo)).port)
    with connect(tunnel.port()) as sock:
        assert echoed(sock, b"before") == b"before"
        shutil.copy(renewed.cert, identity.cert)
        shutil.copy(renewed.key, identity.key)
        stage.agent(tunnel.proxy.url, "late", "-ca", ca.file, "--pin", pin)
        assert echoed(sock, b"after") == b"after"
    assert len(tunnel.entry.log.matches("registered as")) == 1


class TestClientCertificates:
    def test_their_subjects_reach_the_policy(self, stage: Stage, ca: Authority, identity: Identity) -> None:
        rules = stage.directory / "rules.toml"
        rules.write_text(RULES)
        office, lab = (ca.issue("a@example.com", common_name=name) for name in ("office-1", "lab-1"))
        tunnel = stage.tunnel(
            stage.add(Service(echo)).port,
            proxy_options=serving(identity, "--tls-client-ca", ca.file, "--auth-rules", str(rules)),
            entry_options=showing(ca, office),
            exit_options=showing(ca, lab),
        )
        assert_echo(tunnel.port())
        impostor = stage.agent(tunnel.proxy.url, "entry", *showing(ca, lab), registered=False, log_name="impostor")
        impostor.log.wait_for("refused the registration")

    def test_where_the_policy_names_nobody_the_subject_is_the_identity(
        self, stage: Stage, ca: Authority, identity: Identity
    ) -> None:
        script = stage.directory / "policy.lua"
        script.write_text('function connect(request) return request:identity():find("^CN=office%-1,") ~= nil end\n')
        tunnel = stage.tunnel(
            stage.add(Service(echo)).port,
            proxy_options=serving(identity, "--tls-client-ca", ca.file, "-authlua", str(script)),
            entry_options=showing(ca, ca.issue("a@example.com", common_name="office-1")),
            exit_options=showing(ca, ca.issue("a@example.com", common_name="lab-1")),
        )
        assert_echo(tunnel.port())

    def test_who_needs_one_and_has_none_is_told_so(self, stage: Stage, ca: Authority, identity: Identity) -> None:
        proxy = stage.proxy(*serving(identity, "--tls-client-ca", ca.file))
        ended = hubble("hubble-agent", "-url", proxy.url, "-name", "a", "-ca", ca.file, "--exit-on-failure")
        assert ended.returncode == 1
        assert "it requires a client certificate: pass one with --cert and --cert-key" in ended.stderr

    def test_who_needs_none_may_have_one(self, stage: Stage, ca: Authority, identity: Identity) -> None:
        proxy = stage.proxy(*serving(identity, "--tls-client-ca", ca.file, "--tls-client", "optional"))
        stage.agent(proxy.url, "with", *showing(ca, ca.issue("a@example.com", common_name="agent1")))
        stage.agent(proxy.url, "without", "-ca", ca.file)


class TestServerCertificate:
    def test_an_unknown_issuer(self, stage: Stage, identity: Identity) -> None:
        proxy = stage.proxy(*serving(identity))
        ended = hubble("hubble-agent", "-url", proxy.url, "-name", "a", "--exit-on-failure")
        assert ended.returncode == 1
        assert ended.stderr.count("\n") <= 2
        assert "unknown issuer: pass the issuer's certificate with -ca" in ended.stderr

    def test_insecure_is_loud_each_time(self, stage: Stage, identity: Identity) -> None:
        proxy = stage.proxy(*serving(identity))
        agent = stage.agent(proxy.url, "a", "--insecure")
        proxy.restart()
        agent.wait_registered(times=2)
        assert len(agent.log.matches("WARNING INSECURE: the certificate of 127.0.0.1 is not checked")) == 2

    def test_a_pin_makes_it_secure_and_silent(self, stage: Stage, identity: Identity) -> None:
        proxy = stage.proxy(*serving(identity))
        agent = stage.agent(proxy.url, "a", "--insecure", "--pin", pin_by_openssl(identity))
        assert not agent.log.matches("INSECURE")


def test_a_silent_client_of_the_tls_port_delays_nobody(stage: Stage, ca: Authority, identity: Identity) -> None:
    proxy = stage.proxy(*serving(identity))
    silent = [connect(proxy.port) for _ in range(20)]
    stage.agent(proxy.url, "a", "-ca", ca.file)
    for sock in silent:
        sock.close()


def test_ws_to_a_tls_port_and_wss_to_a_plain_one(stage: Stage, ca: Authority, identity: Identity) -> None:
    tls, plain = stage.proxy(*serving(identity)), stage.proxy(name="plain")
    for url, said in (
        (tls.url.replace("wss:", "ws:"), "if it speaks TLS, use wss://"),
        (plain.url.replace("ws:", "wss:"), "it does not speak TLS there"),
    ):
        ended = hubble("hubble-agent", "-url", url, "-name", "a", "-ca", ca.file, "--exit-on-failure")
        assert (ended.returncode, said in ended.stderr) == (1, True)
