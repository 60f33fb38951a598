"""Sessions that outlive their links: killed proxies, cut, frozen and vanished links, outages."""

from __future__ import annotations

import random
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import gevent
import pytest
from gevent.event import Event

from tests.support.commands import run
from tests.support.log import Log
from tests.support.programs import require
from tests.support.scale import MB, scaled
from tests.support.services import Exchange, Service, digest, digest_at_end, echo, receive_all, source
from tests.support.sockets import connect, echoed
from tests.support.sshd import Sshd
from tests.support.stage import Stage, Tunnel
from tests.support.traffic import Pattern, Progress, exchange
from tests.support.trees import contents, make_tree

SESSIONS = 20
SIZE = scaled(50 * MB, 8 * MB)  # of each session, each way
PROXY_KILLS = scaled(15, 3)
LINK_CUTS = scaled(30, 6)
SILENCE = 40  # seconds after which a link that brings nothing counts as dead


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_twenty_sessions_survive_killed_proxies_and_cut_links(stage: Stage) -> None:
    """Kills and cuts come when so many bytes have arrived, so that all of them hit sessions in mid-stream."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    progress = Progress()
    service = stage.add(Exchange(progress))
    tunnel = stage.tunnel(service.port, relays=True)

    def cut_a_link() -> None:
        relay = chance.choice(tunnel.relays)
        relay.wait_connections(1)
        relay.cut(chance.choice(("reset", "end")))

    blows = [tunnel.proxy.restart] * PROXY_KILLS + [cut_a_link] * LINK_CUTS
    chance.shuffle(blows)
    total = 2 * SESSIONS * SIZE
    moments = sorted(chance.randrange(total // 100, total * 95 // 100) for _ in blows)
    sessions = [gevent.spawn(exchange, tunnel.port(), number, SIZE, progress) for number in range(SESSIONS)]
    striker = gevent.spawn(strike, progress, list(zip(moments, blows, strict=True)))
    gevent.joinall([*sessions, striker], raise_error=True)
    service.changes.wait_until(lambda: service.completed == SESSIONS, 10, "the service has completed them all")
    assert not service.failures
    assert progress.total == total


def strike(progress: Progress, blows: list[tuple[int, Callable[[], object]]]) -> None:
    """Deals each blow when its number of bytes has arrived."""
    for moment, blow in blows:
        progress.wait(moment, within=70)
        blow()


def interrupted_exchange(tunnel: Tunnel, service: Exchange, interrupt: Callable[[], object]) -> None:
    """One session both ways, with `interrupt()` in its midst; it must end well all the same."""
    progress = Progress()
    session = gevent.spawn(exchange, tunnel.port(), 1, 20 * MB, progress)
    progress.wait(2 * MB, within=10)
    interrupt()
    assert progress.total < 20 * MB, "the interruption came too late to show anything"
    session.get()
    assert not service.failures


@pytest.mark.parametrize("how", ["reset", "end"])
@pytest.mark.parametrize("which", ["entry", "exit", "both"])
def test_a_session_survives_cut_links(stage: Stage, which: str, how: str) -> None:
    service = stage.add(Exchange())
    tunnel = stage.tunnel(service.port, relays=True)
    entry_relay, exit_relay = tunnel.relays
    relays = {"entry": [entry_relay], "exit": [exit_relay], "both": [entry_relay, exit_relay]}[which]
    interrupted_exchange(tunnel, service, lambda: [relay.cut(how) for relay in relays])  # type: ignore[arg-type]


def test_a_session_survives_a_killed_proxy(stage: Stage) -> None:
    service = stage.add(Exchange())
    tunnel = stage.tunnel(service.port)
    interrupted_exchange(tunnel, service, tunnel.proxy.restart)


def test_a_session_survives_a_proxy_that_ends_in_order(stage: Stage) -> None:
    service = stage.add(Exchange())
    tunnel = stage.tunnel(service.port)

    def restart() -> None:
        assert tunnel.proxy.stop() == 0
        tunnel.proxy.start()

    interrupted_exchange(tunnel, service, restart)


def test_a_session_survives_links_that_freeze_for_a_while(stage: Stage) -> None:
    service = stage.add(Exchange())
    tunnel = stage.tunnel(service.port, relays=True)

    def freeze() -> None:
        for relay in tunnel.relays:
            relay.freeze()
        gevent.sleep(3)  # the length of the outage, not a wait for anything
        for relay in tunnel.relays:
            relay.heal()

    interrupted_exchange(tunnel, service, freeze)


@pytest.mark.parametrize("which", ["entry", "exit"])
def test_a_session_survives_when_the_proxy_does_not_notice_that_a_link_is_gone(stage: Stage, which: str) -> None:
    """The agent comes back over a new link while its old one still looks alive to the proxy."""
    service = stage.add(Exchange())
    tunnel = stage.tunnel(service.port, relays=True)
    relay = tunnel.relays[0 if which == "entry" else 1]
    interrupted_exchange(tunnel, service, relay.vanish)


@pytest.mark.waits
@pytest.mark.slow
@pytest.mark.timeout(150)
def test_sessions_survive_peers_that_vanished_without_a_fin(stage: Stage) -> None:
    """One loses its entry agent's link, the other its exit agent's, at the same time since it takes its time."""

    def lose(which: str) -> None:
        service = stage.add(Exchange())
        tunnel = stage.tunnel(service.port, relays=True, prefix=f"lost-{which}-")
        relay, agent = (tunnel.relays[0], tunnel.entry) if which == "entry" else (tunnel.relays[1], tunnel.exit)

        def vanish() -> None:
            relay.abandon()
            agent.log.wait_for("silent for", within=SILENCE + 10)

        interrupted_exchange(tunnel, service, vanish)

    gevent.joinall([gevent.spawn(lose, "entry"), gevent.spawn(lose, "exit")], raise_error=True)


def test_an_idle_session_survives_with_both_streams_open(stage: Stage) -> None:
    service = stage.add(Service(echo))
    tunnel = stage.tunnel(service.port, relays=True)
    with connect(tunnel.port()) as sock:
        assert echoed(sock, b"before") == b"before"
        for relay in tunnel.relays:
            assert relay.cut() == 1
            assert echoed(sock, b"after") == b"after"
        marks = tunnel.marks()
        tunnel.proxy.restart()
        tunnel.wait_registered(after=marks)
        assert echoed(sock, b"at last") == b"at last"


def test_half_closed_sessions_survive(stage: Stage) -> None:
    """The end of one stream is sent before the interruption, the other's whole content after it."""
    data = Pattern(5).cut(0, 3 * MB)
    go_on = Event()

    def answers_later(sock: socket.socket) -> None:
        question = receive_all(sock)
        go_on.wait()
        sock.sendall(question)

    service = stage.add(Service(answers_later))
    tunnel = stage.tunnel(service.port)
    with connect(tunnel.port()) as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        marks = tunnel.marks()
        tunnel.proxy.restart()
        tunnel.wait_registered(after=marks)
        go_on.set()
        assert receive_all(sock) == data
    assert not service.failures


def test_an_end_of_stream_during_an_outage_arrives_after_it(stage: Stage) -> None:
    service = stage.add(Service(digest_at_end))
    tunnel = stage.tunnel(service.port)
    data = Pattern(6).cut(0, 100_000)
    with connect(tunnel.port()) as sock:
        sock.sendall(data[:1000])
        service.changes.wait_until(lambda: service.accepted, 5, "the session is there")
        tunnel.proxy.kill()
        sock.sendall(data[1000:])
        sock.shutdown(socket.SHUT_WR)
        tunnel.proxy.start()
        assert receive_all(sock) == digest(data)


def test_a_download_survives_while_its_service_is_already_gone(stage: Stage) -> None:
    """The service has sent all and closed; what the exit agent still holds must outlive the link."""
    data = Pattern(7).cut(0, 200_000)
    service = stage.add(Service(source(data)))
    tunnel = stage.tunnel(service.port, relays=True)
    with connect(tunnel.port()) as sock:
        assert sock.recv(1, socket.MSG_PEEK)
        tunnel.relays[0].cut()
        tunnel.relays[1].cut()
        assert receive_all(sock) == data


@pytest.mark.waits
@pytest.mark.slow
@pytest.mark.timeout(120)
def test_an_ssh_shell_outlives_an_outage(stage: Stage, sshd: Sshd, tmp_path: Path) -> None:
    tunnel = stage.tunnel(sshd.port, relays=True)
    ssh = [require("ssh"), *sshd.options(), "-p", str(tunnel.port()), "-tt", "localhost"]
    shell = subprocess.Popen(ssh, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert shell.stdin is not None and shell.stdout is not None
    screen = Log("ssh", tmp_path / "ssh.log")
    screen.follow(shell.stdout)

    def type_in(line: bytes) -> None:
        assert shell.stdin is not None
        shell.stdin.write(line + b"\n")
        shell.stdin.flush()

    type_in(b"echo before $((6 * 7))")
    screen.wait_for("before 42")
    for relay in tunnel.relays:
        relay.refuse()
        relay.cut()
    type_in(b"echo during $((6 * 8))")
    gevent.sleep(scaled(10, 3))  # the length of the outage, not a wait for anything
    assert not screen.matches("during 48")
    for relay in tunnel.relays:
        relay.heal()
    screen.wait_for("during 48", within=40)
    type_in(b"echo after $((6 * 9))")
    screen.wait_for("after 54")
    type_in(b"exit 7")
    assert shell.wait(10) == 7


@pytest.mark.slow
def test_rsync_does_not_notice_a_killed_proxy(stage: Stage, sshd: Sshd, tmp_path: Path) -> None:
    original, copy = tmp_path / "original", tmp_path / "copy"
    make_tree(original, files=60, largest=MB)
    tunnel = stage.tunnel(sshd.port, relays=True)
    shell = " ".join([require("ssh"), *sshd.options(), "-p", str(tunnel.port())])
    command = [require("rsync"), "-a", "--bwlimit=20m", "-e", shell, f"{original}/", f"localhost:{copy}"]
    copying = gevent.spawn(run, command)
    tunnel.relays[0].wait_carried(5 * MB, within=20)
    tunnel.proxy.restart()
    assert not copying.ready(), "the proxy was killed too late to show anything"
    copying.get()
    assert contents(copy) == contents(original)


def test_the_pause_of_a_session_across_a_cut_is_short(stage: Stage) -> None:
    """A cut link alone, with the proxy there, is bridged at once: no back-off before the first attempt."""
    service = stage.add(Service(echo))
    tunnel = stage.tunnel(service.port, relays=True)
    with connect(tunnel.port()) as sock:
        for relay in tunnel.relays:
            assert echoed(sock, b"before") == b"before"
            relay.cut()
            started = time.monotonic()
            assert echoed(sock, b"after") == b"after"
            assert time.monotonic() - started < 3
