"""The ways from an agent to its proxy: through a real squid that cuts what is idle, over IPv6, and `check`."""

from __future__ import annotations

import random
import socket
from pathlib import Path

import gevent
import pytest
from gevent.server import StreamServer

from tests.support.certificates import Authority
from tests.support.commands import hubble
from tests.support.outproxies import IN_URL, squid
from tests.support.scale import MB
from tests.support.services import Exchange, Service, echo, receive_exactly
from tests.support.sockets import connect, echoed
from tests.support.stage import Stage
from tests.support.traffic import exchange

IDLE = 2
"""Seconds after which squid cuts a tunnel that is idle, in place of 15 minutes."""


class TestSquidThatCutsWhatIsIdle:
    def test_pings_keep_the_link(self, stage: Stage) -> None:
        service, proxy = stage.add(Service(echo)), stage.proxy()
        with squid("basic", more=[f"read_timeout {IDLE} seconds"]) as port:
            way = ("--proxy", f"http://{IN_URL}@127.0.0.1:{port}", "--ping-interval", "0.5")
            stage.agent(proxy.url, "exit", "--proxy", "none")
            entry = stage.agent(proxy.url, "entry", f"0:exit:127.0.0.1:{service.port}", *way)
            with connect(entry.port()) as sock:
                assert echoed(sock, b"before") == b"before"
                gevent.sleep(2 * IDLE + 1)  # the length of the pause, not a wait for anything
                assert echoed(sock, b"after") == b"after"
            assert len(entry.log.matches("registered as")) == 1
            assert stage.end() == []

    def test_without_pings_it_would_be_cut(self, stage: Stage) -> None:
        proxy = stage.proxy("--ping-interval", "60")
        with squid(more=[f"read_timeout {IDLE} seconds"]) as port:
            way = ("--proxy", f"http://127.0.0.1:{port}", "--ping-interval", "60")
            agent = stage.agent(proxy.url, "a", *way)
            agent.log.wait_for("the link to the proxy was lost", within=5 * IDLE)
            assert stage.end() == []


def test_tls_through_an_https_proxy(stage: Stage, tmp_path: Path) -> None:
    """TLS within TLS; the proxy's certificate and Hubble's come from one authority."""
    service, ca = stage.add(Exchange()), Authority(tmp_path)
    identity = ca.issue("127.0.0.1")
    proxy = stage.proxy("--tls-cert", identity.cert, "--tls-key", identity.key)
    with squid(tls=(identity.cert, identity.key)) as port:
        way = ("-ca", ca.file, "--proxy", f"https://127.0.0.1:{port}")
        stage.agent(proxy.url, "exit", *way)
        entry = stage.agent(proxy.url, "entry", f"0:exit:127.0.0.1:{service.port}", *way)
        exchange(entry.port(), random.randrange(2**32), 5 * MB)
        assert not service.failures
        assert stage.end() == []


def test_ipv6_from_end_to_end(stage: Stage) -> None:
    service = StreamServer(("::1", 0), lambda sock, _: echo(sock))
    service.start()
    proxy = stage.proxy("-listen", "[::1]:0")
    url = f"ws://[::1]:{proxy.port}"
    stage.agent(url, "exit")
    entry = stage.agent(url, "entry", f"[::1]:0:exit:[::1]:{service.server_port}")
    proxy.log.wait_for("gateway exit registered from ::1")
    with socket.create_connection(("::1", entry.port()), timeout=20) as sock:
        sock.sendall(b"hello")
        assert receive_exactly(sock, 5) == b"hello"
    service.stop(timeout=0)


def test_one_listener_for_both_families(stage: Stage) -> None:
    proxy = stage.proxy("-listen", ":0")
    for name, host in (("four", "127.0.0.1"), ("six", "[::1]")):
        stage.agent(f"ws://{host}:{proxy.port}", name)
        proxy.log.wait_for(f"gateway {name} registered from {host.strip('[]')}$")


def test_local_connections_are_kept_alive_on_both_sides(stage: Stage) -> None:
    service = stage.add(Service(echo))
    tunnel = stage.tunnel(service.port)
    with connect(tunnel.port()) as sock:
        assert echoed(sock, b"x") == b"x"
        assert _has_keepalive(tunnel.port(), sock.getsockname()[1]), "the entry's side"
        assert _has_keepalive(None, service.port), "the exit's side"


def _has_keepalive(local: int | None, remote: int) -> bool:
    """Whether a TCP connection between two ports of loopback has its keepalive timer running (proc_net_tcp.txt)."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        here, there = (int(address.rpartition(":")[2], 16) for address in fields[1:3])
        if there == remote and local in (None, here) and fields[5].startswith("02:"):
            return True
    return False


class TestCheck:
    def test_all_is_well(self, stage: Stage) -> None:
        ended = hubble("hubble-agent", "check", "-url", stage.proxy().url, "-name", "checked", within=40)
        assert (ended.returncode, ended.stderr) == (0, "")
        _, *lines = ended.stdout.splitlines()
        assert [line.split()[0] for line in lines] == [
            *("resolve", "connect", "proxy", "TLS", "upgrade", "registration", "round", "throughput")
        ]
        assert all(" ok " in line or " - " in line for line in lines)
        assert "MB/s" in lines[-1]

    @pytest.mark.parametrize(
        ("url", "step", "said"),
        [
            ("ws://127.0.0.1:1/", "connect", "Connection refused"),
            ("ws://nowhere.invalid/", "resolve", "cannot resolve 'nowhere.invalid'"),
        ],
    )
    def test_a_failure_is_the_last_line_and_the_status_is_1(self, url: str, step: str, said: str) -> None:
        ended = hubble("hubble-agent", "check", "-url", url)
        assert (ended.returncode, ended.stderr) == (1, "")
        last = ended.stdout.splitlines()[-1]
        assert last.startswith(f"{step} ") and "FAILED" in last and said in last

    @pytest.mark.parametrize("arguments", [(), ("-url", "ftp://x"), ("-url", "ws://x", "--header", "x")])
    def test_what_cannot_be_meant(self, arguments: tuple[str, ...]) -> None:
        ended = hubble("hubble-agent", "check", *arguments)
        assert (ended.returncode, ended.stdout) == (2, "")
        assert ended.stderr.startswith("hubble-agent check: ")
        assert ended.stderr.count("\n") == 1
