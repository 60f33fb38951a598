from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from gevent import socket

from tests.support.processes import START, ProxyProcess
from tests.support.proxies import Proxies, QuickProxy, alive, files, gone, holds, inheritable, is_listening, refused
from tests.support.waiting import poll

TAKEN = "another proxy has taken over"
HANDED = "handed the listeners over to another proxy, which is starting"
GOES_ON = "takeover failed: the successor has ended; this proxy continues"
ADMIN = ("--admin", "127.0.0.1:0")


def unharmed(proxy: QuickProxy, workers: int = 2) -> None:
    """It serves on, with the workers that it had."""
    assert proxy.running and is_listening(proxy.port)
    assert all(len(proxy.noops(number)) == 1 for number in range(workers))
    assert not proxy.log.matches(TAKEN) and proxy.runtime.joinpath("control.sock").exists()


def handed_over(old: QuickProxy, new: QuickProxy) -> None:
    """Have `new` take over from `old`, which has drained then."""
    new.start()
    old.log.wait_for(TAKEN)
    assert old.wait() == 0
    gone(*old.noops(0), *old.noops(1))


class TestATakeover:
    def test_has_the_old_proxy_drain(self, proxies: Proxies) -> None:
        old = proxies.start()
        new = proxies.successor(old)
        handed_over(old, new)
        assert len(old.log.matches(r"Drain\(seconds=30.0, replaced=True\)")) == 2
        assert new.port == old.port and is_listening(new.port)
        assert new.stop() == 0 and not proxies.runtime.exists() and not is_listening(new.port)

    def test_gives_the_agents_the_time_that_was_said(self, proxies: Proxies) -> None:
        old = proxies.start("serve", "--drain", "7")
        handed_over(old, proxies.successor(old))
        assert len(old.log.matches(r"Drain\(seconds=7.0, replaced=True\)")) == 2

    def test_can_be_repeated(self, proxies: Proxies) -> None:
        first = proxies.start()
        second, third = proxies.successor(first), proxies.successor(first)
        handed_over(first, second)
        handed_over(second, third)
        assert is_listening(third.port)
        assert third.stop() == 0 and not proxies.runtime.exists()

    def test_of_nothing_just_starts(self, proxies: Proxies) -> None:
        proxy = proxies.start("serve", "--takeover")
        handed_over(proxy, proxies.successor(proxy))

    def test_of_nothing_takes_the_place_of_a_killed_proxy(self, proxies: Proxies) -> None:
        old = proxies.start()
        old.stop(signal.SIGKILL)
        new = proxies.successor(old)
        new.start()
        assert new.port == old.port and not new.log.matches("does not hand over")

    def test_leaves_the_directory_to_the_last_proxy_to_end(self, proxies: Proxies) -> None:
        """The successor may be told to end while the old proxy drains still."""
        old = proxies.start("deaf", "--drain", "0.1", end=2)
        new = proxies.successor(old)
        new.start()
        old.log.wait_for(TAKEN)
        assert new.stop() == 0
        assert old.running and "lock" in files(proxies.runtime)
        assert old.wait() == 0 and not proxies.runtime.exists()


class TestASuccessor:
    def test_that_cannot_boot_changes_nothing(self, proxies: Proxies) -> None:
        old = proxies.start()
        assert refused(proxies.successor(old, "serve,fail=no policy says so")) == (3, "no policy says so")
        old.log.wait_for(GOES_ON)
        unharmed(old)
        assert old.stop() == 0 and not proxies.runtime.exists()

    def test_that_cannot_tell_its_ports_changes_nothing(self, proxies: Proxies) -> None:
        old = proxies.start("serve", *ADMIN)
        new = proxies.successor(old, "serve", *ADMIN)
        new.argv[new.argv.index("--ports-file") + 1] = "/nowhere/ports.json"
        assert refused(new)[0] == 2
        old.log.wait_for(GOES_ON)
        unharmed(old)

    @pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
    def test_that_ends_in_between_changes_nothing(self, proxies: Proxies, signum: int) -> None:
        old = proxies.start()
        new = proxies.successor(old, "unready", end=0.1)
        new.begin("noop 1")
        old.log.wait_for(HANDED)
        os.killpg(new.pid, signum) if signum == signal.SIGKILL else new.send(signum)
        assert new.wait() == (-9 if signum == signal.SIGKILL else 0)
        old.log.wait_for(GOES_ON)
        unharmed(old)
        handed_over(old, proxies.successor(old))

    def test_must_be_told_the_same_address(self, proxies: Proxies) -> None:
        old = proxies.start()
        new = proxies.successor(old)
        new.argv[new.argv.index("-listen") + 1] = "127.0.0.1:1"
        said = f"the running proxy listens on 127.0.0.1:{old.port}, not on 127.0.0.1:1; change -listen"
        assert refused(new) == (2, said)
        old.log.wait_for(GOES_ON)
        unharmed(old)

    def test_must_be_told_the_same_runtime_directory(self, proxies: Proxies) -> None:
        old = proxies.start()
        other = proxies.directory / "other"
        status, line = refused(proxies.successor(old, "serve", "--runtime-dir", str(other)))
        assert (status, line) == (1, f"cannot listen on 127.0.0.1:{old.port}: Address already in use, "
                                     f"and no proxy runs with the runtime directory {other}")  # fmt: skip
        unharmed(old)

    def test_must_say_that_it_is_one(self, proxies: Proxies) -> None:
        old = proxies.start()
        new = proxies.successor(old)
        new.argv.remove("--takeover")
        assert refused(new) == (
            1,
            f"a proxy already runs with the runtime directory {proxies.runtime}; give --takeover to replace it, or "
            "another --runtime-dir to run a second proxy",
        )
        assert not old.log.matches(HANDED)
        unharmed(old)

    def test_is_refused_while_another_starts(self, proxies: Proxies) -> None:
        """Two that serve would each be without the other's knowledge, and only one could ever be taken over."""
        old = proxies.start()
        first = proxies.successor(old, "unready", end=0.1)
        first.begin("noop 1")
        status, line = refused(proxies.successor(old, takeover=0.5))
        assert status == 1 and line.startswith(
            f"the proxy at {proxies.runtime} does not hand over its listeners (timed out); it may be starting, stopping"
        )
        assert first.stop() == 0
        old.log.wait_for(GOES_ON)
        handed_over(old, proxies.successor(old))

    def test_is_refused_while_the_old_proxy_starts(self, proxies: Proxies) -> None:
        old = proxies.make("unready", end=0.1)
        old.begin("noop 1")
        status, line = refused(proxies.make("serve", "--takeover"))
        assert status == 1 and "(No such file or directory); it may be starting" in line
        assert old.stop() == 0

    def test_is_refused_while_the_old_proxy_ends(self, proxies: Proxies) -> None:
        old = proxies.start("deaf")
        old.send(signal.SIGTERM)
        old.told("Stop()", times=2)
        status, line = refused(proxies.successor(old))
        assert status == 1 and "(Connection refused); it may be starting" in line

    def test_goes_on_alone_when_the_old_proxy_ends_meanwhile(self, proxies: Proxies) -> None:
        old = proxies.start()
        new = proxies.successor(old, "await=go")
        new.begin("noop 1")
        assert old.stop() == 0
        assert "lock" in files(proxies.runtime), "the directory is the successor's now"
        (proxies.directory / "go").touch()
        new.log.wait_for("the replaced proxy has already ended", within=START)
        new.log.wait_for("listening on")
        assert is_listening(old.port)
        assert new.stop() == 0 and not proxies.runtime.exists()

    def test_goes_on_alone_when_the_old_proxy_is_killed_meanwhile(self, proxies: Proxies) -> None:
        old = proxies.start()
        new = proxies.successor(old, "await=go")
        new.begin("noop 1")
        assert old.stop(signal.SIGKILL) == -9
        assert refused(proxies.make())[1].startswith("a proxy already runs with the runtime directory")
        (proxies.directory / "go").touch()
        new.log.wait_for("listening on", within=START)
        assert is_listening(old.port) and new.stop() == 0 and not proxies.runtime.exists()


class TestTheAdminListener:
    def access(self, proxies: Proxies) -> dict[str, str]:
        access: dict[str, str] = json.loads((proxies.runtime / "admin.json").read_text())
        return access

    def test_and_its_token_are_the_same_after_a_takeover(self, proxies: Proxies) -> None:
        old = proxies.start("serve", *ADMIN)
        before = self.access(proxies)
        new = proxies.successor(old, "serve", *ADMIN)
        handed_over(old, new)
        assert self.access(proxies) == before and new.ports()["admin"] == before["address"]

    def test_is_the_same_however_it_is_written(self, proxies: Proxies) -> None:
        old = proxies.start("serve", "--admin", ":0")
        before = self.access(proxies)
        handed_over(old, proxies.successor(old, "serve", *ADMIN))
        assert self.access(proxies) == before

    def test_that_is_not_wanted_any_more_is_let_go(self, proxies: Proxies) -> None:
        old = proxies.start("serve", *ADMIN)
        port = int(self.access(proxies)["address"].rpartition(":")[2])
        handed_over(old, proxies.successor(old))
        assert not is_listening(port) and "admin.json" not in files(proxies.runtime)

    def test_may_be_another(self, proxies: Proxies) -> None:
        old = proxies.start("serve", *ADMIN)
        before = self.access(proxies)
        new = proxies.successor(old, "serve", "--admin", "localhost:0")
        handed_over(old, new)
        after = self.access(proxies)
        assert after["address"] != before["address"] and after["token"] == before["token"]
        assert not is_listening(int(before["address"].rpartition(":")[2]))

    def test_of_a_proxy_that_was_taken_over_is_let_go_at_once(self, proxies: Proxies) -> None:
        """Its supervisor accepts nothing: whoever dialled it would wait until all is drained."""
        old = proxies.start("deaf", *ADMIN, "--drain", "5", workers=1)
        port = int(self.access(proxies)["address"].rpartition(":")[2])
        assert holds(old.pid, port)
        proxies.successor(old).start()
        old.log.wait_for(TAKEN)
        poll(lambda: not holds(old.pid, port), START, "the old proxy lets it go")
        assert old.running

    def test_the_token_is_where_it_has_to_be_and_nowhere_else(self, proxies: Proxies) -> None:
        (proxies.directory / "token").write_text("the-token-of-this-test\n")
        options = (*ADMIN, "--admin-token-file", str(proxies.directory / "token"), "--log-level", "debug")
        old = proxies.start("serve", *options)
        new = proxies.successor(old, "serve", *options)
        new.start()
        token = self.access(proxies)["token"]
        assert token == "the-token-of-this-test"
        for pid in (new.pid, *new.children()):
            for file in ("cmdline", "environ"):
                assert token.encode() not in Path(f"/proc/{pid}/{file}").read_bytes()
        assert old.wait() == 0
        assert token not in old.log.text + new.log.text
        assert (proxies.runtime / "admin.json").stat().st_mode & 0o777 == 0o600


def test_descriptors_that_were_handed_over_are_given_to_no_program_by_mistake(proxies: Proxies) -> None:
    old = proxies.start("serve", *ADMIN)
    new = proxies.successor(old, "serve", *ADMIN)
    handed_over(old, new)
    assert inheritable(new.pid) == []


def test_a_silent_client_does_not_block_a_takeover(proxies: Proxies) -> None:
    old = proxies.start()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as stranger:
        stranger.connect(str(proxies.runtime / "control.sock"))
        stranger.send(b"something else")
        stranger.settimeout(START)
        assert stranger.recv(100) == b""
    handed_over(old, proxies.successor(old))


def test_a_takeover_of_real_workers(proxies: Proxies) -> None:
    options = ("-authgrant", "--workers", "1", "--runtime-dir", str(proxies.runtime))
    old = ProxyProcess(proxies.directory, *options, name="old")
    proxies.add(old)
    old.start()
    before = old.children()
    new = ProxyProcess(proxies.directory, *options, "--takeover", name="new")
    proxies.add(new)
    new.argv[new.argv.index("-listen") + 1] = f"127.0.0.1:{old.port}"
    new.start()
    assert old.wait(START) == 0 and not any(alive(pid) for pid in before)
    assert is_listening(new.port)
    assert new.stop(within=START) == 0 and not proxies.runtime.exists()
