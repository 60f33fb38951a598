"""What Hubble is for: two private networks that cannot see each other, and a proxy that both can reach.

The office is behind NAT; out of the lab only an HTTP proxy leads, and to port 443 only. From the lab, ssh and rsync
reach the office's real sshd over TLS, while the proxy is killed and restarted.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.log import Log
from tests.support.networks import GATE, INTERNET, LAB, LAB_GATE, OFFICE, ROUTER, Namespaces, networks
from tests.support.outproxies import public_directory
from tests.support.processes import HubbleProcess, Process
from tests.support.programs import require
from tests.support.sshd import Sshd
from tests.support.stage import Stage
from tests.support.trees import contents, make_tree
from tests.support.waiting import poll

SQUID = """\
http_port {gate}:3128
acl tls port 443
http_access deny CONNECT !tls
http_access allow all
pid_filename {directory}/squid.pid
cache_log {directory}/cache.log
access_log none
coredump_dir {directory}
cache deny all
visible_hostname gate.example
"""
URL = f"wss://{INTERNET}:443/"
LOCAL = 2222
RESTARTS = 3


class Picture:
    """The namespaces, and Hubble's three processes in them."""

    def __init__(self, stage: Stage, spaces: Namespaces, ca: Authority) -> None:
        self.spaces = spaces
        self._stage = stage
        identity = ca.issue(INTERNET)
        tls = ("--tls-cert", identity.cert, "--tls-key", identity.key)
        runtime = ("--runtime-dir", str(stage.directory / "run"))
        self.proxy = self._start(
            "internet", "hubble-proxy", "proxy", "-listen", f"{INTERNET}:443", "-authgrant", *tls, *runtime
        )
        self.exit = self._agent("office", ca)
        outproxy = ("--proxy", f"http://{LAB_GATE}:3128")
        self.entry = self._agent("lab", ca, *outproxy, f"{LOCAL}:office:{OFFICE}:22")
        for agent in (self.exit, self.entry):
            agent.log.wait_for("registered as", within=20)

    def _agent(self, name: str, ca: Authority, *arguments: str) -> HubbleProcess:
        return self._start(name, "hubble-agent", name, "-url", URL, "-name", name, "-ca", ca.file, *arguments)

    def _start(self, place: str, program: str, name: str, *arguments: str) -> HubbleProcess:
        process = HubbleProcess(program, name, arguments, self._stage.directory)
        process.argv = self.spaces.within(place, *process.argv)
        self._stage.processes.append(process)
        process.start()
        return process

    def restart_proxy(self) -> None:
        self.proxy.kill()
        self.proxy.start()


@contextmanager
def running(spaces: Namespaces, place: str, command: list[str], directory: Path, ready: str) -> Iterator[None]:
    """A program in a namespace, once its log says that it is ready."""
    process = Process(f"{Path(command[0]).name}-in-{place}", spaces.within(place, *command), directory)
    process.start()
    try:
        process.log.wait_for(ready, within=20)
        yield
    finally:
        process.kill()


@pytest.fixture
def picture(stage: Stage, sshd: Sshd, tmp_path: Path) -> Iterator[Picture]:
    squid, daemon, keys = require("squid"), require("sshd"), sshd.client_configuration.parent
    with networks() as spaces, public_directory() as directory:
        config = directory / "squid.conf"
        config.write_text(SQUID.format(gate=LAB_GATE, directory=directory))
        serve = [daemon, "-D", "-e", "-f", str(keys / "sshd_config"), "-o", f"ListenAddress={OFFICE}:22"]
        with (
            running(spaces, "gate", [squid, "-N", "-d", "1", "-f", str(config)], tmp_path, "Accepting HTTP Socket"),
            running(spaces, "office", serve, tmp_path, "Server listening on"),
        ):
            yield Picture(stage, spaces, Authority(tmp_path))
            assert stage.end() == []


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_the_whole_picture(picture: Picture, sshd: Sshd, tmp_path: Path) -> None:
    spaces = picture.spaces
    assert not spaces.reaches("lab", OFFICE, 22), "the lab sees the office"
    assert not spaces.reaches("office", LAB, LOCAL), "the office sees the lab"
    assert not spaces.reaches("internet", OFFICE, 22), "the internet sees through the NAT"
    assert not spaces.reaches("lab", INTERNET, 443), "the lab gets out without squid"
    picture.proxy.log.wait_for(f"gateway office registered from {ROUTER}$")
    picture.proxy.log.wait_for(f"gateway lab registered from {GATE}$")

    ssh = [require("ssh"), *sshd.options(), "-p", str(LOCAL)]
    shell = subprocess.Popen(
        spaces.within("lab", *ssh, "localhost", "cat"), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert shell.stdin is not None and shell.stdout is not None
    screen = Log("ssh", tmp_path / "ssh.log")
    screen.follow(shell.stdout)

    def type_in(line: str) -> None:
        assert shell.stdin is not None
        shell.stdin.write(line.encode() + b"\n")
        shell.stdin.flush()
        screen.wait_for(f"^{line}$", within=20)

    type_in("before")
    original, copy = tmp_path / "original", tmp_path / "copy"
    make_tree(original, files=300, largest=200_000)
    command = [require("rsync"), "-a", "--bwlimit=6m", "-e", " ".join(ssh), f"{original}/", f"localhost:{copy}"]
    rsync = subprocess.Popen(spaces.within("lab", *command), stderr=subprocess.PIPE, text=True)
    for number in range(1, RESTARTS + 1):
        there = number * 300 // (RESTARTS + 2)
        poll(lambda: copy.is_dir() and len(list(copy.rglob("*"))) >= there, 30, f"{there} files are copied")  # noqa: B023
        picture.restart_proxy()
        type_in(f"after restart {number}")
    assert rsync.poll() is None, "rsync was done too early for the restarts to show anything"
    _, complaint = rsync.communicate(timeout=60)
    assert (rsync.returncode, complaint) == (0, "")
    assert contents(copy) == contents(original)
    shell.stdin.close()
    assert shell.wait(20) == 0
